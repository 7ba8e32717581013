#!/usr/bin/env bash
# A real data set from Debian packages, to show the way on media that nobody here made:
#   pictures: Noto colour emoji, labelled by the keywords that Unicode CLDR gives them (data/real_emoji.txt)
#   music:    the tracks of the game Wesnoth in excerpts, labelled by a table (data/real_tracks.csv)
#
#   data/real_demo.sh DIR     writes DIR/images.csv, DIR/music.csv and the pictures; the music stays where it is installed
#
# The labels of the tracks were given by title and role in the game, not by listeners: treat the numbers accordingly.
# About 180 MB of packages are installed (apt, as root) where they are missing.
set -eu
[ $# -eq 1 ] || { echo "usage: data/real_demo.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
out=$1
packages="fonts-noto-color-emoji unicode-cldr-core wesnoth-1.16-music pango1.0-tools"

font=/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf
names=/usr/share/unicode/cldr/common/annotations/en.xml
music=/usr/share/games/wesnoth/1.16/data/core/music
if ! { [ -f $font ] && [ -f $names ] && [ -d $music ] && command -v pango-view >/dev/null; }; then
    if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
        echo "Please install: $packages" >&2
        exit 4
    fi
    { apt-get install -y -q --no-install-recommends $packages || { apt-get update -q && apt-get install -y -q --no-install-recommends $packages; }; } >&2
fi
mkdir -p "$out/images"

# Every eighth sample of a class is for testing, the next for validation.
split_of() { case $(($1 % 8)) in 0) echo test ;; 1) echo valid ;; *) echo train ;; esac; }

# From "<annotation cp="X">word | word</annotation>" to "emotion X", by the most keywords.
awk -v table="$here/real_emoji.txt" '
    BEGIN {
        while ((getline line < table) > 0) {
            if (line ~ /^#/) continue
            n = split(line, word, " ")
            for (i = 2; i <= n; i++) emotion[word[i]] = word[1]
        }
    }
    /<annotation cp=/ && !/type="tts"/ {
        split($0, part, "\""); sign = part[2]
        text = $0; sub(/^[^>]*>/, "", text); sub(/<.*/, "", text)
        delete score; best = ""; tie = 0
        n = split(text, word, /[ |]+/)
        for (i = 1; i <= n; i++) if (word[i] in emotion) score[emotion[word[i]]]++
        for (e in score) {
            if (best == "" || score[e] > score[best]) { best = e; tie = 0 }
            else if (score[e] == score[best]) tie = 1
        }
        if (best != "" && !tie) print best, sign
    }' "$names" | sort -u >"$out/emoji.txt"

echo "path,label,split" >"$out/images.csv"
declare -A seen=()
count=0 total=$(wc -l <"$out/emoji.txt")
while read -r label sign; do
    count=$((count + 1))
    file=images/$(printf '%s-%04d.png' "$label" "$count")
    [ -s "$out/$file" ] || pango-view -q --font="Noto Color Emoji 96" --margin=12 --background=white \
        --text="$sign" -o "$out/$file" </dev/null || continue
    number=${seen[$label]:-0}
    seen[$label]=$((number + 1))
    echo "$file,$label,$(split_of "$number")" >>"$out/images.csv"
    printf '\rdrawing pictures: %d of %d' "$count" "$total" >&2
done <"$out/emoji.txt"
echo >&2
rm "$out/emoji.txt"

# Excerpts of 12 s every 20 s. A track belongs to one split as a whole. 30 kB/s is more than the tracks have, so no excerpt
# starts behind the end.
echo "path,label,split,start_s,end_s" >"$out/music.csv"
while IFS=, read -r track label split; do
    [ "$track" = track ] && continue
    file=$music/$track.ogg
    [ -f "$file" ] || { echo "missing: $file" >&2; continue; }
    seconds=$(($(stat -c %s "$file") / 30000))
    if [ "$seconds" -lt 14 ]; then
        echo "$file,$label,$split,," >>"$out/music.csv"
        continue
    fi
    for ((start = 1; start + 13 <= seconds; start += 20)); do
        echo "$file,$label,$split,$start,$((start + 12))" >>"$out/music.csv"
    done
done <"$here/real_tracks.csv"
echo "$(($(wc -l <"$out/images.csv") - 1)) pictures and $(($(wc -l <"$out/music.csv") - 1)) excerpts: $out/images.csv, $out/music.csv" >&2
