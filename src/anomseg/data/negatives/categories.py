"""Which categories of ImageNet, COCO and Pascal VOC are animals that anomaly benchmarks test on, and which are traffic.

The tested ones are cow, horse, sheep, zebra, giraffe, elephant, bird and dog, drawn wide on purpose: near kin (donkeys,
goats, antelopes, wolves, foxes) and things that are rarely photographed without the animal (dogsled, horse cart) count
too. Leaving out a class too many costs a thousandth of the negatives; leaving one in spoils a claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# WordNet 3.0 numbers its nouns in the order of its animal taxonomy, so a family is a range of synset numbers. The
# ranges hold the 1000 classes of the challenge and most of those of the full hierarchy.
_SYNSET_RANGES = {
    "bird": ((1_503_061, 1_623_110), (1_789_386, 1_861_777), (2_000_954, 2_062_016)),
    "dog": ((2_083_346, 2_120_996),),
    "horse": ((2_373_336, 2_390_999),),
    "zebra": ((2_391_000, 2_391_993),),
    "sheep": ((2_410_900, 2_419_795),),
    "cow": ((1_886_756, 1_888_411), (2_401_031, 2_410_899), (2_419_796, 2_430_044)),
    "giraffe": ((2_438_871, 2_439_568),),
    "elephant": ((1_871_265, 1_871_542), (2_503_127, 2_508_020)),
}
# horse cart, cowboy hat, carousel, plow, muzzle, oxcart, dogsled, birdhouse
_SYNSET_COMPANIONS = {
    "horse": (3_538_406, 3_124_170, 2_966_193, 3_967_562),
    "dog": (3_803_284, 3_218_198),
    "cow": (3_868_242,),
    "bird": (2_843_684,),
}

_WORDS = {
    "cow": "cow cows cattle calf bull bullock ox oxen oxcart buffalo bison yak antelope gazelle impala hartebeest",
    "horse": "horse horses pony foal mare stallion colt sorrel donkey ass mule jennet racehorse equine carousel",
    "sheep": "sheep lamb ram ewe bighorn goat ibex mouflon",
    "zebra": "zebra zebras",
    "giraffe": "giraffe giraffes okapi",
    "elephant": "elephant elephants tusker mammoth",
    "bird": """bird birds cock hen rooster chicken ostrich emu brambling goldfinch finch junco bunting robin bulbul jay
        magpie chickadee ouzel eagle vulture owl grouse ptarmigan peacock quail partridge grey macaw cockatoo lorikeet
        coucal eater hornbill hummingbird jacamar toucan drake duck merganser goose swan stork spoonbill flamingo heron
        egret bittern limpkin gallinule coot bustard turnstone sandpiper redshank dowitcher oystercatcher pelican
        penguin albatross parrot pigeon dove crow raven sparrow turkey gull seagull hawk falcon buzzard swallow
        woodpecker warbler tern wren cardinal blackbird pheasant birdhouse""",
    "dog": """dog dogs puppy hound canine chihuahua spaniel pekinese tzu papillon terrier ridgeback basset beagle
        bloodhound bluetick coonhound foxhound redbone borzoi wolfhound greyhound whippet elkhound otterhound saluki
        deerhound weimaraner bullterrier airedale cairn dinmont schnauzer lhasa retriever pointer vizsla setter clumber
        springer kuvasz schipperke groenendael malinois briard kelpie komondor sheepdog collie flandres rottweiler
        shepherd doberman pinscher appenzeller entlebucher mastiff bulldog dane bernard malamute husky
        dalmatian affenpinscher basenji pug leonberg newfoundland pyrenees samoyed pomeranian chow keeshond griffon
        pembroke poodle hairless wolf coyote dingo dhole hyena fox dogsled""",
}
_PHRASES = {
    "african grey": "bird",
    "bee eater": "bird",
    "boston bull": "dog",
    "bouvier des flandres": "dog",
    "great dane": "dog",
    "german shepherd": "dog",
    "saint bernard": "dog",
    "mexican hairless": "dog",
    "shih tzu": "dog",
    "horse cart": "horse",
}
# Words that stand for a tested animal only within the phrases above, and names whose last word misleads.
_ONLY_IN_PHRASES = frozenset({"grey", "eater", "dane", "shepherd", "bernard", "hairless", "flandres", "tzu"})
_NOT_TESTED = frozenset({"hot dog", "hotdog", "prairie dog", "sea horse", "battering ram", "jersey"})

TESTED_CATEGORIES = tuple(_WORDS)
"""The categories that the regime ``minus_test_categories`` leaves out."""

_KIND_OF_WORD = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_SYNSET = re.compile(r"n(\d{8})")

_ROAD_NAMES = """
    person rider bicycle car motorcycle motorbike bus train truck traffic_light stop_sign parking_meter bench
    fire_hydrant bridge house road platform railroad gravel pavement_merged sky_other_merged tree_merged fence_merged
    grass_merged building_other_merged wall_brick wall_stone wall_other_merged mountain_merged dirt_merged net
    """
# ImageNet: vehicles of the road and their parts, street furniture, and what street scenes are classed as.
_ROAD_NUMBERS = """
    n02701002 n02704792 n02814533 n02835271 n02930766 n02965783 n02974003 n03000134 n03100240 n03345487 n03417042
    n03459775 n03594945 n03599486 n03670208 n03769881 n03770679 n03776460 n03777568 n03785016 n03791053 n03792782
    n03796401 n03891251 n03891332 n03895866 n03930313 n03930630 n03977966 n04037443 n04065272 n04146614 n04252225
    n04285008 n04311004 n04335435 n04461696 n04467665 n04482393 n04487081 n04509417 n04532670 n06794110 n06874185
    """
_ROAD_WORDS, _ROAD_SYNSETS = frozenset(_ROAD_NAMES.split()), frozenset(_ROAD_NUMBERS.split())


def which_tested(name: str) -> str | None:
    """Which tested animal a category's name stands for.

    Args:
        name: A WordNet synset (``n02119789``), or a class name of ImageNet, COCO or VOC, however it is spaced; of a
            name of several words the last one decides (``Indian elephant``).

    Returns:
        One of `TESTED_CATEGORIES`, or None.

    Example:
        >>> [which_tested(name) for name in ("n02391049", "Border_collie", "water buffalo", "hot dog", "teapot")]
        ['zebra', 'dog', 'cow', None, None]
    """
    synset = _SYNSET.fullmatch(name)
    if synset:
        return _tested_synset(int(synset[1]))
    words = plain_words(name)
    phrase = " ".join(words)
    if not words or phrase in _NOT_TESTED:
        return None
    if phrase in _PHRASES:
        return _PHRASES[phrase]
    return None if words[-1] in _ONLY_IN_PHRASES else _KIND_OF_WORD.get(words[-1])


def is_tested(categories: Iterable[str]) -> bool:
    """Whether any of an image's categories is a tested animal; where a synset is known, it decides alone.

    Example:
        >>> is_tested({"n03126707", "crane"}), is_tested({"person", "horse"})
        (False, True)
    """
    return any(which_tested(name) for name in deciding(categories))


def is_excluded(categories: Iterable[str], excluded: Iterable[str]) -> bool:
    """Whether any of the categories is among the excluded names.

    Args:
        categories: Of an image or a region.
        excluded: Names, compared without regard to case and spacing; ``road`` stands for all that driving label
            spaces know (vehicles, people, street furniture, and the ground, sky and buildings of COCO).

    Example:
        >>> is_excluded({"car"}, ["road"]), is_excluded({"Traffic Light"}, ["traffic_light"]), is_excluded({"cup"}, [])
        (True, True, False)
    """
    unwanted = {"_".join(plain_words(name)) for name in excluded}
    for name in deciding(categories):
        key = "_".join(plain_words(name))
        if key in unwanted or ("road" in unwanted and (key in _ROAD_WORDS or name in _ROAD_SYNSETS)):
            return True
    return any("_".join(plain_words(name)) in unwanted for name in categories)


def deciding(categories: Iterable[str]) -> list[str]:
    """Those of an image's categories that say what it shows: its synsets where there are any, else its names."""
    names = sorted(categories)
    return [name for name in names if _SYNSET.fullmatch(name)] or names


def shown_as(categories: Iterable[str]) -> str | None:
    """The one name of what an image shows: a class name rather than a synset; None where it shows several things.

    Example:
        >>> shown_as({"n02119789", "kit fox"}), shown_as({"n02119789"}), shown_as({"cup", "dog"})
        ('kit fox', 'n02119789', None)
    """
    names = sorted(categories)
    words = [name for name in names if not _SYNSET.fullmatch(name)] or names
    return words[0] if len(words) == 1 else None


def plain_words(name: str) -> list[str]:
    """A category's name in lower-case words.

    Example:
        >>> plain_words("black-and-tan_coonhound")
        ['black', 'and', 'tan', 'coonhound']
    """
    return re.findall(r"[^\W_]+", name.casefold())


def _tested_synset(number: int) -> str | None:
    for kind, ranges in _SYNSET_RANGES.items():
        if any(first <= number <= last for first, last in ranges) or number in _SYNSET_COMPANIONS.get(kind, ()):
            return kind
    return None
