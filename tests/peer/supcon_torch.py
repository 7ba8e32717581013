"""SupCon of two modalities in PyTorch, four ways; the definition is in tests/golden/README.md.

Every function takes x, y (N,D) with unit rows, their labels (N) int64 and the temperature t, and returns the scalar
mean of the four directions, differentiable in x and y.
"""
import math

import torch

CLASSES = 6


def _masked(a, b, labels_a, labels_b, t, same):
    """One direction with everything written out as N x N matrices: mask of positives, logits, log-probabilities."""
    positive = torch.eq(labels_a.view(-1, 1), labels_b.view(1, -1)).float()
    logits = torch.div(torch.matmul(a, b.T), t)
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    weights = torch.exp(logits)
    if same:
        others = 1 - torch.eye(len(a))
        positive = positive * others
        weights = weights * others
    log_probability = logits - torch.log(weights.sum(1, keepdim=True))
    count = positive.sum(1)
    return -((positive * log_probability).sum(1) / count.clamp(min=1)).mean()


def orig(x, y, labels_x, labels_y, t):
    """The way research programs write it: masks and log-softmax matrices, one direction after the other."""
    return (_masked(x, x, labels_x, labels_x, t, True) + _masked(y, y, labels_y, labels_y, t, True)
            + _masked(x, y, labels_x, labels_y, t, False) + _masked(y, x, labels_y, labels_x, t, False)) / 4


def _counts(labels):
    """Rows of each class (C). bincount would make the host wait for a GPU, and cannot be captured."""
    return torch.zeros(CLASSES, dtype=labels.dtype).index_add_(0, labels, torch.ones_like(labels))


def _positives(z, labels):
    """Sum of the rows of each class (C,D), and how many there are (C)."""
    sums = torch.zeros(CLASSES, z.shape[1], dtype=z.dtype).index_add_(0, labels, z)
    return sums, _counts(labels).to(z.dtype)


def _direction(z, labels, sums, counts, row_sums, t, same):
    """Mean loss of one direction from its row sums of exponentials, and the number of positives of each anchor."""
    positives, count = sums[labels], counts[labels]
    if same:
        positives, count = positives - z, count - 1
    loss = row_sums.log() - (z * positives).sum(1) / (t * count.clamp(min=1))
    return torch.where(count > 0, loss, torch.zeros_like(loss)).mean()


def _four(x, y, labels_x, labels_y, t, xx, yy, xy, yx):
    """All four directions from their row sums."""
    (sums_x, counts_x), (sums_y, counts_y) = _positives(x, labels_x), _positives(y, labels_y)
    return (_direction(x, labels_x, sums_x, counts_x, xx, t, True) + _direction(y, labels_y, sums_y, counts_y, yy, t, True)
            + _direction(x, labels_x, sums_y, counts_y, xy, t, False)
            + _direction(y, labels_y, sums_x, counts_x, yx, t, False)) / 4


def dense(x, y, labels_x, labels_y, t):
    """A good dense version by autograd: no masks, class sums for the positives, one matrix for both cross directions."""
    xx = torch.exp(torch.mm(x, x.T / t).fill_diagonal_(-math.inf))
    yy = torch.exp(torch.mm(y, y.T / t).fill_diagonal_(-math.inf))
    xy = torch.exp(torch.mm(x, y.T / t))
    return _four(x, y, labels_x, labels_y, t, xx.sum(1), yy.sum(1), xy.sum(1), xy.sum(0))


def _positive_gradient(z, labels, other, other_labels, t):
    """Gradient of the positives' part of the sum of the four directions, times N t."""
    (sums, counts), (other_sums, other_counts) = _positives(z, labels), _positives(other, other_labels)
    count, other_count = counts[labels], other_counts[labels]
    same = torch.where(count > 1, 2 / (count - 1).clamp(min=1), torch.zeros_like(count))
    # An anchor of the other modality pulls on this row only if it exists, and this row is then one of its positives.
    cross = torch.where(other_count > 0, 1 / other_count.clamp(min=1) + 1 / count, torch.zeros_like(count))
    return same[:, None] * (sums[labels] - z) + cross[:, None] * other_sums[labels]


def _active(labels_x, labels_y, dtype):
    """1 where an anchor has a positive, else 0; for the directions xx, yy, xy, yx."""
    of_x, of_y = _counts(labels_x), _counts(labels_y)
    return [flag.to(dtype) for flag in (of_x[labels_x] > 1, of_y[labels_y] > 1, of_y[labels_x] > 0, of_x[labels_y] > 0)]


class _ByHand(torch.autograd.Function):
    """Makes the gradient along with the loss; backward only scales it."""

    @staticmethod
    def forward(context, x, y, labels_x, labels_y, t, sums_and_gradient, option):
        (xx, yy, xy, yx), gx, gy = sums_and_gradient(x, y, t, _active(labels_x, labels_y, x.dtype), option)
        scale = 1 / (4 * len(x) * t)
        gx.sub_(_positive_gradient(x, labels_x, y, labels_y, t)).mul_(scale)
        gy.sub_(_positive_gradient(y, labels_y, x, labels_x, t)).mul_(scale)
        context.save_for_backward(gx, gy)
        return _four(x, y, labels_x, labels_y, t, xx, yy, xy, yx)

    @staticmethod
    def backward(context, out):
        gx, gy = context.saved_tensors
        return gx * out, gy * out, None, None, None, None, None


def _three_matrices(x, y, t, active, _):
    """Row sums and their gradient (times 4 N t) from the three matrices of exponentials, each made once: 18 N^2 D."""
    gradient, sums = [], []
    for z, flags in ((x, active[0]), (y, active[1])):
        e = torch.mm(z, (z / t).T).exp_().fill_diagonal_(0)
        r = e.sum(1)
        u = flags / r
        gradient.append(torch.mm(e.mul_(u[:, None] + u), z))
        sums.append(r)
    e = torch.mm(x, (y / t).T).exp_()
    xy, yx = e.sum(1), e.sum(0)
    e.mul_((active[2] / xy)[:, None] + active[3] / yx)
    return (*sums, xy, yx), gradient[0].addmm_(e, y), gradient[1].addmm_(e.T, x)


def _upper_triangle(x, y, t, active, chunk):
    """The same from the upper triangle of [x;y][x;y]^T, chunk rows at a time, made twice and never held: 16 N^2 D."""
    n, z = len(x), torch.cat((x, y))
    scaled = z / t
    memory = torch.empty(2, chunk * 2 * n, dtype=x.dtype)

    def rows():
        for modality_end in (n, 2 * n):
            start = modality_end - n
            for i in range(start, modality_end, chunk):
                j = min(modality_end, i + chunk)
                e = memory[0, :(j - i) * (2 * n - i)].view(j - i, 2 * n - i)
                torch.mm(scaled[i:j], z[i:].T, out=e)
                e.exp_()
                e[:, :j - i].fill_diagonal_(0)
                yield i, j, modality_end, e

    intra, cross = torch.zeros(2 * n, dtype=x.dtype), torch.zeros(2 * n, dtype=x.dtype)
    for i, j, end, e in rows():
        intra[i:j] += e[:, :end - i].sum(1)
        intra[j:end] += e[:, j - i:end - i].sum(0)
        if end == n:
            cross[i:j] += e[:, n - i:].sum(1)
            cross[n:] += e[:, n - i:].sum(0)
    a, b = torch.cat(active[:2]) / intra, torch.cat(active[2:]) / cross
    gradient = torch.zeros_like(z)
    for i, j, end, e in rows():
        w = memory[1, :e.numel()].view_as(e)
        torch.add(a[i:j, None], a[None, i:end], out=w[:, :end - i])
        if end == n:
            torch.add(b[i:j, None], b[None, n:], out=w[:, n - i:])
        e.mul_(w)
        gradient[i:j].addmm_(e, z[i:])
        gradient[j:].addmm_(e[:, j - i:].T, z[i:j])
    return (intra[:n], intra[n:], cross[:n], cross[n:]), gradient[:n], gradient[n:]


def by_hand(x, y, labels_x, labels_y, t):
    return _ByHand.apply(x, y, labels_x, labels_y, t, _three_matrices, None)


def chunked(chunk):
    return lambda x, y, labels_x, labels_y, t: _ByHand.apply(x, y, labels_x, labels_y, t, _upper_triangle, chunk)


def pick(name):
    """orig, dense, by_hand, chunkedROWS, or one of the first two with -compiled (PyTorch 2)."""
    base, _, compiled = name.partition("-")
    if base.startswith("chunked"):
        return chunked(int(base[len("chunked"):]))
    function = {"orig": orig, "dense": dense, "by_hand": by_hand}[base]
    return torch.compile(function) if compiled else function
