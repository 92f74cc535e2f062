"""The part of ``anomseg data`` that builds frames with pasted objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anomseg.errors import EXIT_OK, EXIT_PARTIAL, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from anomseg.data.negatives import Negative


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of ``paste``."""
    group = parser.add_argument_group("paste")
    group.add_argument(
        "--objects", type=str, default=None, help="what objects are cut out of: KIND=DIR, such as coco_panoptic=COCO"
    )
    group.add_argument("--half", type=str, default="odd", help="images to cut out of: odd, even (those train), or all")
    group.add_argument("--recipe", type=str, default="sized", help="sized, wd_pascal, or control (inliers alone)")
    group.add_argument("--categories", type=str, default=None, help="animals, no_animals, any, or names with commas")
    group.add_argument("--count", type=int, default=None, help="objects a frame")
    group.add_argument("--inliers", type=int, default=None, help="pasted inliers a frame: the paste control")
    group.add_argument("--classes", type=str, default=None, help="classes of pasted inliers, with commas")
    group.add_argument("--area", type=str, default=None, help="least,greatest share of the frame")
    group.add_argument("--shape", type=str, default=None, help="mask or rectangle")
    group.add_argument("--blending", type=str, default=None, help="hard, smooth, or matched (in colour)")
    group.add_argument("--inlier-place", type=str, default=None, help="own (where it was) or uniform (as objects)")
    group.add_argument("--seed", type=int, default=0, help="of every random choice")
    group.add_argument("--limit", type=int, default=None, help="paste on the first frames only")
    group.add_argument("--manifest", type=str, default=None, help="build again what this manifest says, bit-equal")


def run(options: Namespace) -> int:
    """Build and print; exit code 1 where frames had to be skipped."""
    from anomseg.cli.output import Progress, say
    from anomseg.data.pasted import build_pasted, rebuild_pasted
    from anomseg.data.pasted.manifest import INLIER_PASTE, OBJECT

    if options.out is None:
        raise ConfigError("anomseg data paste needs the folder to build: give --out DIR")
    with Progress(f"pasting on {options.name}", options.quiet) as progress:
        if options.manifest is not None:
            negatives = _again(options)
            built = rebuild_pasted(options.manifest, options.root, options.out, negatives, on_progress=progress)
        else:
            settings = _settings(options)
            negatives, described = _negatives(options) if settings.objects else ([], {})
            built = build_pasted(
                options.name,
                options.root,
                options.out,
                negatives,
                settings,
                split=options.split,
                limit=options.limit,
                described=described,
                on_progress=progress,
            )
    say(
        f"{len(built.frames)} frames of {built.base} {built.split} with {built.count(OBJECT)} objects and "
        f"{built.count(INLIER_PASTE)} pasted inliers in {options.out}",
        options.quiet,
    )
    for name, reason in built.skipped.items():
        say(f"skipped {name}: {reason}", options.quiet)
    return EXIT_PARTIAL if built.skipped else EXIT_OK


def _settings(options: Namespace) -> Any:
    from anomseg.data.pasted import paste_options
    from anomseg.data.pasted.options import ANIMALS

    named: dict[str, tuple[list[str], list[str] | None]] = {
        "animals": (list(ANIMALS), None),
        "no_animals": ([], list(ANIMALS)),
        "any": ([], None),
    }
    categories, without = None, None
    if options.categories is not None:
        categories, without = named.get(options.categories, (_names(options.categories), None))
    try:
        area = None if options.area is None else [float(part) for part in options.area.split(",")]
    except ValueError as error:
        raise ConfigError(f"--area {options.area!r} is not two shares such as 0.005,0.1") from error
    return paste_options(
        options.recipe,
        categories=categories,
        without=without,
        objects=options.count,
        inliers=options.inliers,
        classes=_names(options.classes) if options.classes else None,
        area=area,
        shape=options.shape,
        blending=options.blending,
        inlier_place=options.inlier_place,
        seed=options.seed,
    )


def _negatives(options: Namespace) -> tuple[list[Negative], dict[str, Any]]:
    """What objects are cut out of, and what the manifest says of it."""
    from anomseg.data.negatives import load_negatives

    kind, folder = _source(options)
    half = None if options.half == "all" else options.half
    # Animals are what is pasted for testing, so no category is withheld: which half trains keeps the two apart.
    negatives = load_negatives(kind, folder, regime="all", half=half)
    return negatives, {"source": kind, "half": half}


def _again(options: Namespace) -> list[Negative]:
    """The negatives that a manifest names, from the folder given."""
    from anomseg.data.negatives import load_negatives
    from anomseg.data.pasted import read_manifest
    from anomseg.data.pasted.manifest import OBJECT

    manifest = read_manifest(options.manifest)
    if manifest.base != options.name:
        raise ConfigError(f"{options.manifest} pastes on {manifest.base}, not {options.name}; name that data set")
    if not manifest.count(OBJECT):
        return []
    kind, folder = _source(options)
    return load_negatives(kind, folder, regime="all")


def _source(options: Namespace) -> tuple[str, str]:
    kind, equals, folder = (options.objects or "").rpartition("=")
    if not equals or not kind or not folder:
        raise ConfigError("name what objects are cut out of: --objects KIND=DIR, such as coco_panoptic=COCO")
    return kind, folder


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
