"""Progress off a terminal: plain lines with throughput and time left, each phase measured by itself."""

from anomseg.cli import output


def test_each_phase_has_its_own_rate(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    progress = output.Progress("work")
    for done in range(1, 11):
        now[0] += 2.0
        progress(done, 10, f"score {done}")
    for done in range(1, 11):
        now[0] += 10.0
        progress(done, 10, f"components {done}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("work (components): 10/10, 0.10/s")
    assert any(line.startswith("work (score): 10/10") for line in lines)


def test_quiet_says_nothing(capsys):
    output.Progress("work", quiet=True)(1, 1)
    assert capsys.readouterr().err == ""
