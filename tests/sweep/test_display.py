from astmoa.sweep import display as module
from astmoa.sweep.display import Display


def test_the_time_left_is_the_pace_since_the_first_trial_times_what_is_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    display = Display(num_trials=3, num_epochs=6)
    now[0] = 150.0  # workers starting: no part of the pace
    display.started("a")
    assert display.seconds_left() is None
    for _ in range(2):
        now[0] += 4
        display.epoch("2/1", 0.5)
    assert display.seconds_left() == 4 * 4
    display.ended("a", "failed", epochs_not_run=1)  # a failed trial's epochs are not waited for
    assert display.seconds_left() == 4 * 3


def test_without_a_terminal_it_prints_whole_lines(capsys, monkeypatch):
    display = Display(num_trials=1, num_epochs=2, every=0.0)
    with display:
        display.started("a")
        display.epoch("2/1", 0.25)
        display.epoch("2/1", 0.75)
        display.ended("a", "completed")
    lines = capsys.readouterr().err.strip().splitlines()
    assert "starting workers" in lines[0]
    assert "1/2 epochs" in lines[1]
    assert "best val 75.0 % (2/1)" in lines[-1]
    assert "1/1 trials (0 running, 1 completed)" in lines[-1]


def test_epochs_known_from_an_earlier_run_do_not_set_the_pace():
    display = Display(num_trials=2, num_epochs=10)
    display.done_epochs = 5
    display.started("b")
    assert display.seconds_left() is None
