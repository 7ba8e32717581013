#!/bin/sh
# In place of ssh, for the hosts of netns.sh: netns_rsh.sh HOST COMMAND...
host=$1
shift
exec "$(dirname "$0")/netns.sh" enter "$host" sh -c "$*"
