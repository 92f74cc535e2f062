"""A tiny teacher whose batch norm has been somewhere, and a tiny student."""

import torch
from torch import nn

from anomseg.detectors.dicnet import DiCNet, target_from_norm
from anomseg.registry import SEGMENTERS
from anomseg.segmenters.student import Student

FEATURE = "bottleneck_linear"


def tiny_teacher(channels: int = 8, size=None, seed: int = 0):
    torch.manual_seed(seed)
    teacher = SEGMENTERS.create("erfnet_pyramid", classes=["road", "sky", "car"], size=size, bottleneck=channels)
    norm = teacher.feature_norm(FEATURE)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(channels, generator=generator) + 0.5)
        norm.bias.copy_(torch.randn(channels, generator=generator))
        norm.running_mean.copy_(0.1 * torch.randn(channels, generator=generator))
        norm.running_var.copy_(0.01 + 0.1 * torch.rand(channels, generator=generator))
    return teacher.eval()


def tiny_student(channels: int = 8, seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student(channels, None, "pyramid", width=4, branch=8).eval()


def tiny_dicnet(**options) -> DiCNet:
    teacher = tiny_teacher()
    target = target_from_norm(teacher.feature_norm(FEATURE), options.get("teacher_norm", "standardized"))
    return DiCNet.of(teacher, tiny_student(), FEATURE, target, **options)


def input_of(norm: nn.Module, run):
    """What goes into a module while ``run`` is called."""
    seen = []
    handle = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    run()
    handle.remove()
    return seen[-1]
