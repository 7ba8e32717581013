"""Forward pass of CLIP's ViT-B/32 in PyTorch, random weights of the real size."""
import torch
from torch import nn

WIDTH, HEADS, LAYERS, PATCH, SIDE, OUTPUT = 768, 12, 12, 32, 224, 512


class Block(nn.Module):
    """A residual block. lean: one product for queries, keys and values and the library's fused attention."""

    def __init__(self, lean):
        super().__init__()
        self.lean = lean
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=lean)
        self.fc, self.proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def attend(self, x):
        if not self.lean:
            return self.attention(x, x, x, need_weights=False)[0]
        rows, tokens, _ = x.shape
        a = self.attention
        q, k, v = nn.functional.linear(x, a.in_proj_weight, a.in_proj_bias).view(rows, tokens, 3, HEADS, -1).permute(
            2, 0, 3, 1, 4)
        if hasattr(nn.functional, "scaled_dot_product_attention"):
            out = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            out = torch.softmax(q @ k.transpose(-1, -2) / 8, -1) @ v
        return a.out_proj(out.transpose(1, 2).reshape(rows, tokens, WIDTH))

    def forward(self, x):
        x = x + self.attend(self.ln_1(x))
        hidden = self.fc(self.ln_2(x))
        return x + self.proj(hidden * torch.sigmoid(1.702 * hidden))


class Encoder(nn.Module):
    def __init__(self, lean):
        super().__init__()
        tokens = (SIDE // PATCH) ** 2 + 1
        self.lean = lean
        self.conv = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_token = nn.Parameter(torch.randn(WIDTH) / 28)
        self.position = nn.Parameter(torch.randn(tokens, WIDTH) / 28)
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.Sequential(*(Block(lean) for _ in range(LAYERS)))
        self.out = nn.Parameter(torch.randn(WIDTH, OUTPUT) / 28)

    def forward(self, images):
        x = self.conv(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_token.expand(len(x), 1, WIDTH), x), 1) + self.position
        x = self.ln_pre(x)
        if self.lean:
            x = self.blocks(x)
        else:
            x = self.blocks(x.transpose(0, 1)).transpose(0, 1)
        return self.ln_post(x[:, 0]) @ self.out


def forward(variant, batch, upload=False, compiled=False):
    """variant: orig, best, or either with -bf16 for weights and activations in bfloat16. upload: images come as float32
    from the host's memory and embeddings go back there; compiled: by torch.compile."""
    torch.manual_seed(1)
    kind, _, dtype = variant.partition("-")
    model, images = Encoder(kind == "best").eval(), torch.rand(batch, 3, SIDE, SIDE) * 2 - 1
    device, number = images.device, torch.bfloat16 if dtype == "bf16" else torch.float32
    model = model.to(number)
    call = torch.compile(model) if compiled else model
    images = images.cpu() if upload else images.to(number)

    def run():
        with torch.inference_mode():
            out = call(images.to(device).to(number))
            return out.cpu() if upload else out

    return run
