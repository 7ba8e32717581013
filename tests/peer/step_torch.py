"""A training step of the projection heads in PyTorch: forward, loss, backward, AdamW."""
import torch
from torch import nn

import supcon_torch

IMAGE, MUSIC, HIDDEN, OUTPUT, TEMPERATURE = 512, 256, 256, 128, 0.07


def head(width):
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Dropout(0.1),
                         nn.Linear(HIDDEN, OUTPUT))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.music = head(IMAGE), head(MUSIC)

    def forward(self, image, music):
        normalize = nn.functional.normalize
        return normalize(self.image(normalize(image))), normalize(self.music(normalize(music)))


def stepper(variant, rows, capturable=False):
    """variant: how the loss is written (supcon_torch.pick), with +fused or +foreach for the optimizer's kind. Without
    one, AdamW as it comes and the loss asked for after each step, as a program that logs it does. capturable: the step
    can be recorded as a CUDA graph."""
    torch.manual_seed(1)
    loss_name, _, optimizer_kind = variant.partition("+")
    model, loss_function = Model().train(), supcon_torch.pick(loss_name)
    options = {optimizer_kind: True} if optimizer_kind else {}
    if capturable:
        options["capturable"] = True
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, **options)
    image, music = torch.rand(rows, IMAGE) - 0.5, torch.rand(rows, MUSIC) - 0.5
    labels = [torch.randint(0, supcon_torch.CLASSES, (rows,)) for _ in range(2)]

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(*model(image, music), *labels, TEMPERATURE)
        loss.backward()
        optimizer.step()
        if not optimizer_kind:
            loss.item()

    return step
