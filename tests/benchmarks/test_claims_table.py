"""The table of claims: every claim answered in one of three kinds, verdicts only from the records of the pages."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from anomseg.benchmarks import BENCHMARKS
from anomseg.cli.main import COMMANDS
from anomseg.errors import DataError
from anomseg.training import recipe_names

BENCH = Path(__file__).parents[2] / "benchmarks"
CLAIMS = [
    *(f"M{n}" for n in range(1, 6)), *(f"K{n}" for n in range(1, 8)), *(f"G{n}" for n in range(1, 6)),
    *(f"D{n}" for n in range(1, 6)), *(f"P{n}" for n in range(1, 5)), *(f"N{n}" for n in range(1, 5)),
    *(f"R{n}" for n in range(1, 6)), *(f"S{n}" for n in range(1, 5)),
]  # fmt: skip


@pytest.fixture
def table(monkeypatch):
    for folder in (BENCH, BENCH / "claims"):
        monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    import claims_table

    yield claims_table
    for name in set(sys.modules) - before:
        if name.startswith(("claim", "learned", "knn", "compare_", "results_")):
            del sys.modules[name]


def entry(claim, word, **more):
    return {"claim": claim, "says": "x", "word": word, "why": "", "figure": "", "value": None, "ci95": [], **more}


def write(folder, page, *entries):
    (folder / f"{page}.json").write_text(json.dumps({"schema": 1, "page": f"{page}.md", "entries": list(entries)}))
    (folder / f"{page}.md").write_text("# Page\n")


def test_every_claim_is_there_once_and_in_order(table):
    claims = table.read_claims()
    assert [one.claim for one in claims] == CLAIMS
    assert all(one.published for one in claims if one.kind == "not here")
    assert not any(one.published for one in claims if one.kind != "not here")


def test_without_records_nothing_is_said_to_be_verified(table, tmp_path):
    answers = table.read_answers(tmp_path, table.read_claims())
    for one in answers:
        expected = "not tested here" if one.claim.kind == "not here" else "undecided: not measured yet"
        assert one.word == expected
    text = "\n".join(table.claims_section(answers))
    assert "**supported**" not in text
    assert "](claims-" not in text  # no link to a page that is not there


def test_verdicts_come_from_the_records_with_figure_frames_and_seeds(table, tmp_path):
    figure = {"figure": "set: AP of a less b", "value": 0.1, "ci95": [0.05, 0.2], "frames": {"CamVid": 233}}
    write(
        tmp_path, "claims-learned", entry("P1", "supported", **figure, seeds=[0, 1], tier="cpu"),
        entry("D2", "supported"), entry("D2", "not supported", figure="AP of c less d", value=-0.3, ci95=[-0.4, -0.2]),
        entry("G4", "undecided: supported on 1, undecided on 2 of 3 sets"),
    )  # fmt: skip
    answers = {one.claim.claim: one for one in table.read_answers(tmp_path, table.read_claims())}
    assert answers["P1"].kind == "supported"
    assert answers["D2"].word == "undecided: of 2 parts 1 supported, 1 not supported"
    assert answers["G4"].kind == "undecided"
    lines = {line.split("|")[1].strip(): line for line in table.claims_section(list(answers.values())) if "|" in line}
    row = lines["P1"]
    for told in ("**supported**", "+0.1000 [+0.0500, +0.2000]", "CamVid 233", "0, 1", "cpu", "(claims-learned.md)"):
        assert told in row
    assert "AP of c less d: -0.3000 [-0.4000, -0.2000]" in lines["D2"]  # the part that speaks most against it


def test_what_is_not_here_is_published_and_has_a_command(table, tmp_path):
    command = "`anomseg evaluate --benchmark street_hazards --root DIR --detector X --out Y`; means over images"
    write(tmp_path, "claims-learned", entry("P4", "not tested here", why=command))
    text = "\n".join(table.claims_section(table.read_answers(tmp_path, table.read_claims())))
    published, untested = text.split("### Not tested here")
    assert "mIoU 53.4" in published
    assert command in untested
    assert "mask2former-swin-large" in untested


def test_written_commands_name_what_exists(table):
    for claim in table.read_claims():
        for command in claim.commands:
            words = shlex.split(command)
            assert words[0] == "anomseg"
            assert words[1] in COMMANDS
            if words[1] == "train":
                assert words[2] in recipe_names()
            for name in re.findall(r"--benchmark (\w+)", command):
                assert name in BENCHMARKS


def test_the_short_table_has_one_row_a_system(table, tmp_path):
    write(tmp_path, "claims-knn", entry("K6", "supported"), entry("K3", "not supported"))
    lines = table.short_table(table.read_answers(tmp_path, table.read_claims()), {"k-NN": "AP 0.233, works"})
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines if line}
    assert len(rows) == 8 + 2
    assert rows["k-NN"] == ["K6", "K3", "K1, K2, K4, K5", "K7", "AP 0.233, works"]


def test_a_damaged_record_is_refused(table, tmp_path):
    (tmp_path / "claims-knn.json").write_text('{"entries": [{"word": "supported"}]}')
    with pytest.raises(DataError, match="no record of claims"):
        table.read_answers(tmp_path, table.read_claims())


def test_the_record_of_a_part_has_its_deciding_check(table):
    from claim_record import of_part
    from knn_verdicts import Check, Verdict
    from learned_verdicts import Part

    good = Verdict("P1", "CamVid, camvid", "supported", (Check("a", 0.2, (0.1, 0.3), "yes", 0.1),))
    bad = Verdict("P1", "Road, road_anomaly", "undecided", (Check("b", 0.0, (-0.1, 0.3), "?", -0.1),))
    studies = [{"title": "CamVid", "benchmark": "camvid", "seed": seed, "frames": 233} for seed in (0, 1)] + [
        {"title": "Road", "benchmark": "road_anomaly", "seed": 0, "frames": 60}
    ]
    found = of_part(Part("P1", "says", (good, bad), "undecided"), studies)
    assert (found.figure, found.value, found.ci95) == ("Road, road_anomaly: b", 0.0, (-0.1, 0.3))
    assert found.frames == {"CamVid, camvid": 233, "Road, road_anomaly": 60}
    assert found.seeds == (0, 1)


def test_the_readme_changes_between_its_markers_alone(table, tmp_path):
    from compare_page import BEGIN, END, write_between

    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert write_between(page, ["| a |", "|---|"])
    assert page.read_text() == f"before\n{BEGIN}\n\n| a |\n|---|\n\n{END}\nafter\n"
    page.write_text("no markers\n")
    assert not write_between(page, ["x"])
    assert page.read_text() == "no markers\n"


def test_the_first_table_is_that_of_a_finished_comparison(table, tmp_path):
    from compare_page import first_part, standing
    from compare_sources import main_tables

    from anomseg.compare import Entry, make_table
    from anomseg.compare.measures import measure_of
    from anomseg.compare.paired import Pairs

    def made(title, kind, ap, above):
        own = {"ap": above, "ci95": [above - 0.01, above + 0.01], "above": above > 0.01, "reason": None}
        comparison = {} if kind == "control" else {"prior": own}
        card = {"detector": {"name": "x"}, "pixel": {"ap": ap}, "comparison": comparison, "seed": 0, "frames": 3}
        return Entry(title, kind, "x", "net", card=card, folder=tmp_path / "run" / title)

    entries = [made("prior", "control", 0.2, 0), made("DiCNet", "method", 0.4, 0.2), made("k-NN", "method", 0.1, -0.1)]
    found = make_table("Road", entries, measure_of("anomaly"), Pairs(measure_of("anomaly"), 0))
    out = tmp_path / "compare"
    out.mkdir()
    (out / "compare.json").write_text(json.dumps({"benchmarks": [found.as_dict()]}))
    tables, notes = main_tables({}, out)
    assert notes == []
    assert standing(tables) == {
        "DiCNet": "AP 0.400, above every control",
        "k-NN": "AP 0.100, not above prior",
    }
    assert "| DiCNet | net | 0.400 |" in "\n".join(first_part(tables, notes))


def test_the_time_of_a_network_of_ones_own_is_whole(table):
    from compare_page import first_part
    from compare_sources import cost_of

    from anomseg.compare import Table

    card = {"frames": 2, "seconds": {"forward": 1.0, "score": 0.5}, "detector": {"forward_passes": 1}}
    shared, own = cost_of(card), cost_of(card, own=True)
    assert (shared["own_ms"], shared["total_ms"], shared["shares_pass"]) == (250.0, 750.0, True)
    assert (own["own_ms"], own["total_ms"], own["shares_pass"]) == (750.0, 750.0, False)
    row = {"title": "PAnS", "kind": "method", "network": "its", "own_network": True, "status": "done", "headline": "AP"}
    row |= {"figures": {"AP": 0.2}, "ci95": {}, "beats_controls": None, "works": None, "differences": {}, "flags": {}}
    text = "\n".join(first_part([Table("Road", "anomaly", [{**row, "cost": own, "note": ""}])], []))
    assert "750.0 alone" in text
    assert "(marked alone)" in text
