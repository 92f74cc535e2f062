"""A tree in CamVid's layout with made pictures whose grey value tells the class."""

import numpy as np
from PIL import Image


def write_split(root, split, count, values, size=(48, 64)):
    """Frame n shows sky above and ``values[n % len(values)]`` below; its corner is void."""
    rng = np.random.default_rng(len(split))
    for index in range(count):
        label = np.zeros(size, np.uint8)
        label[size[0] * 2 // 5 :] = values[index % len(values)]
        label[:2, :2] = 255
        pixels = np.repeat((label.astype(int)[..., None] * 20 % 256), 3, 2) + rng.integers(0, 20, (*size, 3))
        for folder, array in (("images", pixels.astype(np.uint8)), ("labels", label)):
            path = root / folder / split / f"0001TP_{index:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
