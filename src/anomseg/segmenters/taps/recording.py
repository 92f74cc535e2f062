"""Taking feature maps out of a running network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from anomseg.errors import CompatibilityError, unknown_name
from anomseg.segmenters.taps.tap import Tap, first_tensor
from anomseg.types import FeatureInfo


class Taps:
    """Named taps of one network.

    The network's own answers stay bit for bit what they are, and the maps are differentiable. A layer that runs
    several times in a pass gives what it gave last. Maps are copied where the network could overwrite them in
    place afterwards. A copy of an object that holds both a network and its taps listens to the copied network.

    Args:
        network: The network.
        taps: Taps by name.

    Raises:
        CompatibilityError: A tap is in a submodule that the network does not have.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.Conv2d(8, 5, 1))
        >>> taps = Taps(network, {"stem": Tap("0", FeatureInfo(8, 2))})
        >>> with taps.recording(["stem"]) as features:
        ...     logits = network(torch.rand(1, 3, 6, 8))
        >>> features["stem"].shape
        torch.Size([1, 8, 3, 4])
    """

    def __init__(self, network: nn.Module, taps: Mapping[str, Tap]) -> None:
        paths = {path for path, _ in network.named_modules(remove_duplicate=False)}
        for name, tap in taps.items():
            for path in (tap.path, *tap.layout.watched):
                if path not in paths:
                    raise CompatibilityError(f"feature {name!r} is tapped at {path!r}, which the network does not have")
        self.network = network
        self.taps = dict(taps)

    @property
    def info(self) -> Mapping[str, FeatureInfo]:
        """Channels and stride by name."""
        return {name: tap.info for name, tap in self.taps.items()}

    @contextmanager
    def recording(self, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """Fill a dict with feature maps while the network runs inside the block.

        Args:
            names: The maps that are wanted.

        Yields:
            A dict that the forward pass fills: ``{name: (B, D, h, w)}``, in the order of ``names`` at the end.

        Raises:
            ConfigError: A name does not exist.
            CompatibilityError: A tapped layer did not run in the pass.
        """
        for name in names:
            if name not in self.taps:
                raise unknown_name("feature", name, self.taps, "segmenter.feature_info")
        found: dict[str, Tensor] = {}
        sizes: dict[str, tuple[int, int]] = {}
        chosen = {name: self.taps[name] for name in names}
        with ExitStack() as hooks:
            # Sizes first: a layer may be watched and tapped, and hooks of one module run in order.
            for path in {path for tap in chosen.values() for path in tap.layout.watched}:
                hooks.enter_context(self._listen(path, partial(_see, path, sizes)))
            for name, tap in chosen.items():
                hooks.enter_context(self._listen(tap.path, partial(self._take, name, found, sizes)))
            yield found
        for name, tap in chosen.items():
            if name not in found:
                raise CompatibilityError(f"feature {name!r} was not heard: its layer {tap.path!r} did not run")
            found[name] = found.pop(name)

    @contextmanager
    def _listen(self, path: str, listener: Callable[[nn.Module, Any, Any], None]) -> Iterator[None]:
        handle = self.network.get_submodule(path).register_forward_hook(listener)
        try:
            yield
        finally:
            handle.remove()

    def _take(
        self,
        name: str,
        found: dict[str, Tensor],
        sizes: Mapping[str, tuple[int, int]],
        _module: nn.Module,
        _inputs: Any,
        output: Any,
    ) -> None:
        tap = self.taps[name]
        heard = tap.pick(output)
        feature = tap.layout(heard, sizes, self.network)
        shared = feature.untyped_storage().data_ptr() == heard.untyped_storage().data_ptr()
        # A later in-place layer would write into what we hold.
        found[name] = feature.clone(memory_format=torch.contiguous_format) if shared else feature.contiguous()


def _see(path: str, sizes: dict[str, tuple[int, int]], _module: nn.Module, _inputs: Any, output: Any) -> None:
    heard = first_tensor(output)
    if heard is None or heard.ndim != 4:
        raise CompatibilityError(f"layer {path!r} shows no grid: it gave no (batch, channels, height, width)")
    sizes[path] = (int(heard.shape[-2]), int(heard.shape[-1]))
