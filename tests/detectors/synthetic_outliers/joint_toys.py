"""Small networks, flows and crops for tests of joint training."""

import torch
from tiny import CLASSES, made_image

from anomseg.detectors.synthetic_outliers.flow import RealNVP
from anomseg.detectors.synthetic_outliers.joint_module import JointModule
from anomseg.detectors.synthetic_outliers.joint_options import FlowTrainerConfig, JointConfig
from anomseg.detectors.synthetic_outliers.pasting import sides_between
from anomseg.registry import SEGMENTERS
from anomseg.training.options import OptimiserConfig

SMALL = {
    "pyramid": {"widths": (4, 6, 8, 8), "bottleneck": 8},
    "erfnet_pyramid": {"bottleneck": 8},
    "image_classifier": {"widths": (4, 6, 8)},
}
SETS = torch.cat([torch.zeros(1, len(CLASSES), dtype=torch.bool), torch.eye(len(CLASSES), dtype=torch.bool)])
"""Row 0 of the label table is void, row k + 1 class k."""
QUICK = OptimiserConfig(
    steps=4, validate_every=2, learning_rate=1e-3, precision="32-true", channels_last=False, accelerator="cpu"
)


def small_flow(seed=0, spread=0.05):
    """A flow that does not begin as the identity."""
    torch.manual_seed(seed)
    flow = RealNVP(scales=2, width=6, blocks=1, checkerboards=1, channelwise=1, last=1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return flow


def small_network(kind="pyramid", size=(32, 32), classes=CLASSES):
    torch.manual_seed(1)
    network = SEGMENTERS.create(kind, classes=classes, size=size, **SMALL[kind])
    for module in network.modules():
        if isinstance(module, (torch.nn.Dropout, torch.nn.Dropout2d)):
            module.p = 0.0
    return network


def module_of(network="pyramid", frozen=False, optimiser=QUICK, flow_trainer=None, seed=0, **options):
    config = JointConfig(network=network, balance=False, **{"sizes": (16, 24), **options})
    flow = small_flow()
    sides = sides_between(config.sizes, flow.divisor)
    trainer = flow_trainer or FlowTrainerConfig()
    weights = torch.ones(len(SETS))
    return JointModule(small_network(network), flow, sides, SETS, weights, config, optimiser, trainer, seed, frozen)


def toy_batch(count=2, size=(32, 32)):
    images = [torch.from_numpy(made_image(n, size)).permute(2, 0, 1) / 255 for n in range(count)]
    coarse = torch.randint(0, len(CLASSES) + 1, (count, 4, 4), generator=torch.Generator().manual_seed(1))
    rows = coarse.repeat_interleave(size[0] // 4, 1).repeat_interleave(size[1] // 4, 2)
    return {"image": torch.stack(images), "rows": rows}
