"""Which frames a report shows, and how they are drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomseg.errors import FrameError
from anomseg.evaluation import Sample
from anomseg.report.gallery import Choice, choose_frames, draw_frames
from anomseg.types import Frame


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.none() | st.floats(0, 1), max_size=12), st.integers(1, 4))
def test_best_and_worst_never_meet_and_are_in_order(values, count):
    choice = choose_frames(values, count)
    defined = {frame: value for frame, value in values.items() if value is not None}
    assert not set(choice.best) & set(choice.worst)
    assert len(choice.best) + len(choice.worst) == min(len(defined), 2 * count)
    best, worst = [defined[frame] for frame in choice.best], [defined[frame] for frame in choice.worst]
    assert best == sorted(best, reverse=True)
    assert worst == sorted(worst)
    assert not best or not worst or min(best) >= max(worst)


class _Source:
    reads_images = True

    def __init__(self):
        self.asked = []

    def answers(self, sample: Sample, folders):
        from anomseg.evaluation.sources import Answer

        self.asked.append((sample.frame_id, tuple(folders)))
        for folder in folders:
            if folder == "broken":
                yield Answer(folder, error=FrameError("no"))
            else:
                yield Answer(folder, np.zeros(sample.size, np.float32))

    def prediction(self):
        return None


def _frame(name, fails=False):
    def image():
        if fails:
            raise FrameError("gone")
        return np.zeros((20, 30, 3), np.uint8)

    return Frame(name, image, load_label=np.zeros((20, 30), np.uint8))


def test_frames_that_detectors_share_are_forwarded_once():
    source = _Source()
    frames = [_frame("a"), _frame("b"), _frame("c")]
    panels = draw_frames(
        frames, source, {"x": Choice(("a",), ("b",)), "y": Choice(("a",), ()), "broken": Choice((), ("b",))}
    )
    assert sorted(source.asked) == [("a", ("x", "y")), ("b", ("x", "broken"))]
    assert set(panels["x"]) == {"a", "b"}
    assert set(panels["y"]) == {"a"}
    assert panels["broken"] == {}
    assert panels["x"]["a"].dtype == np.uint8


def test_an_image_that_has_gone_since_is_left_out():
    panels = draw_frames([_frame("a", fails=True)], _Source(), {"x": Choice(("a",), ())})
    assert panels == {"x": {}}


@pytest.mark.parametrize("missing", ["curve.npz", "per_image.csv"])
def test_a_report_is_written_from_what_is_there(tmp_path, missing):
    from anomseg.report import write_run_report

    folder = tmp_path / "msp"
    folder.mkdir()
    if missing != "curve.npz":
        line = np.linspace(0, 1, 5)
        np.savez(folder / "curve.npz", recall=line, precision=line, fpr=line, threshold=line)
    if missing != "per_image.csv":
        (folder / "per_image.csv").write_text(
            "frame,group,inlier,anomaly,void,ap,auroc,fpr95\n1,,5,0,0,,,\n2,,5,1,0,0.5,1,0\n"
        )
    card = {
        "task": "anomaly",
        "folder": "msp",
        "benchmark": "made up",
        "detector": {"name": "msp"},
        "pixel": {"ap": 0.5, "auroc": 1.0, "fpr95": 0.0},
        "prevalence": 0.1,
        "skipped": [],
    }
    page = write_run_report(tmp_path, [card])
    assert "made up" in page.read_text()
    assert (tmp_path / "pr_curve.png").is_file() == (missing != "curve.npz")
