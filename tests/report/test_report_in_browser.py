"""The page in headless Chromium: it opens, follows the slider, tells of pixels, sorts tables, and complains of nothing.

The checks run inside the page, appended to its own script; what they found is read from the finished document.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from explorer_parts import WORDS, made_frames, table_of
from report_parts import card
from scipy import ndimage

from anomseg.report import html as page
from anomseg.report.explorer import explorer_data, interactive_script
from anomseg.report.shown_frames import ShownFrames

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found; apt-get install chromium")

HERE = Path(__file__).parent
#: Rows and columns of the 48 x 32 map on which the pointer rests.
PIXELS = [(1, 20), (20, 20), (14, 30), (18, 40)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    frames = made_frames(3, names=["first", WORDS[0], "third"])
    turned = [(frame, (-score).astype(np.float32)) for frame, score in frames]
    tables = {"good": table_of(frames), WORDS[0]: table_of(turned)}
    classes = (np.mgrid[:32, :48][1] // 24).astype(np.uint8)
    shown = ShownFrames([frame.id for frame, _ in frames], tables, lambda _: classes)
    for name, scored in zip(tables, (frames, turned), strict=True):
        for frame, score in scored:
            shown.add(frame, frame.image(), name, score)
    margin = {"value": 0.2, "quality": 0.7, "steps": 1000, "interval": [0.3, 0.5]}
    sizes = [{"share": [0, 0.01], "ap": 0.2, "chance": 0.1}, {"share": [0.01, 1], "ap": None, "chance": None}]
    cards = {name: card(name, mdm=margin, object_sizes=sizes) for name in tables}
    names = {name: ["road", "<b>car</b>"] for name in tables}
    data = explorer_data(cards, tables, shown.listed(), classes=names, figures={"good": {"first": 0.5}})
    rows = [{"frame": f"f{i}", "ap": ap} for i, ap in enumerate([0.25, None, 0.5, 0.0314])]
    table, place = tables["good"], tables["good"].recall95 + 20
    points = [((column + 0.5) / 48, (row + 0.5) / 32) for row, column in PIXELS]
    told = json.dumps({"place": place, "points": points})
    script = (HERE / "page_check.js").read_text().replace("SETTINGS", told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "interactive_script", lambda: interactive_script() + script)
        page.write_report(folder / "report.html", "A page", list(cards.values()), per_image={"x": rows}, explorer=data)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1280,1400", "--virtual-time-budget=60000"]
    done = subprocess.run(
        [*command, (folder / "report.html").as_uri()], capture_output=True, text=True, timeout=400, check=False
    )
    check = re.search(r'<pre id="check">(.*?)</pre>', done.stdout, re.DOTALL)
    assert check, done.stderr[-2000:]
    return json.loads(html.unescape(check[1])), done.stderr, frames, table, place


def told(table, place):
    hits, alarms = int(table.true_positives[place]), int(table.false_positives[place])
    return {
        "tpr": f"{hits / table.anomaly:.3f}",
        "fpr": f"{alarms / table.inlier:.4f}",
        "precision": f"{hits / max(1, hits + alarms):.3f}",
        "f1": f"{2 * hits / (hits + alarms + table.anomaly):.3f}",
        "flagged": f"{(hits + alarms) / (table.anomaly + table.inlier):.4f}",
    }


def near(shown, expected):
    """Equal but for the last digit, where two languages may round a half differently."""
    assert shown.keys() >= expected.keys()
    for name, text in expected.items():
        assert abs(float(shown[name]) - float(text)) <= 1.01 * 10.0 ** -len(text.partition(".")[2]), name


def test_nothing_complains(seen):
    found, stderr, *_ = seen
    assert found["complaints"] == []
    assert "CONSOLE" not in stderr


def test_it_opens_at_the_best_f1(seen):
    found, _, _, table, _ = seen
    assert found["start"]["place"] == table.best_f1
    assert found["start"]["max"] == table.thresholds.size - 1
    near(found["start"], told(table, table.best_f1))


def test_the_slider_moves_figures_and_mask(seen):
    found, _, _, table, place = seen
    near(found["moved"], told(table, place))
    assert found["moved"]["red"] != found["start"]["red"]
    assert found["moved"]["red"] > 0
    near(found["recall"], told(table, table.recall95))


def test_figures_of_the_frame_are_those_of_its_pixels(seen):
    found, _, frames, table, place = seen
    frame, score = frames[0]
    mask = score.astype(np.float64) >= table.thresholds[place]
    hits, alarms = mask[frame.label == 1], mask[frame.label == 0]
    numbers = [float(text) for text in re.findall(r"(?:TPR|FPR|F1) (\d\.\d+)", found["moved"]["frame"])]
    f1 = 2 * hits.sum() / (hits.sum() + alarms.sum() + hits.size)
    assert numbers == pytest.approx([hits.mean(), alarms.mean(), f1], abs=6e-4)
    assert "AP 0.500" in found["moved"]["frame"]


def test_the_pointer_tells_score_class_truth_and_component(seen):
    found, _, frames, table, place = seen
    frame, score = frames[0]
    mask = (score.astype(np.float64) >= table.thresholds[place]) & (frame.label != 255)
    components, count = ndimage.label(mask, np.ones((3, 3)))
    for (row, column), lines in zip(PIXELS, found["tips"], strict=True):
        text = " ".join(lines)
        assert ("class road" in text) == (column < 24)
        assert ("class <b>car</b>" in text) == (column >= 24)
        assert {0: "truth: inlier", 1: "truth: anomaly", 255: "truth: void"}[int(frame.label[row, column])] in text
        low, *high = (float(one) for one in re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?", lines[0]))
        if "to" in lines[0]:
            assert low * 0.999 - 1e-3 <= score[row, column] <= high[0] * 1.001 + 1e-3
        if mask[row, column]:
            label = components[row, column]
            area = int((components == label).sum())
            assert f"component {label} of {count}: about {area} pixels" in text
        else:
            assert "component " not in text


def test_another_detector_has_its_own_figures(seen):
    found, *_ = seen
    assert found["tabs"] == ["good", WORDS[0]]
    assert found["other"]["tpr"] != found["start"]["tpr"]
    assert found["second"].startswith(WORDS[0])
    assert found["curves"] == 2 + 2 + 1


def test_the_table_sorts_with_missing_values_last(seen):
    found, *_ = seen
    assert found["falling"] == ["f2", "f0", "f3", "f1"]
    assert found["rising"] == ["f3", "f0", "f2", "f1"]
    assert found["byName"] == ["f3", "f2", "f1", "f0"]
