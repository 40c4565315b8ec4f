"""The benchmarks run, say what they promise, and compare the same function. No timing is asserted."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys

import pytest
import torch
from transformers import ASTConfig, ASTModel

from astmoa.methods.experts import BottleneckExperts
from astmoa.methods.moa import DenseMoA
from astmoa.pareto import frontier
from tests.helpers import ROOT
from tests.helpers.studies import run_here
from tests.helpers.synthetic import curves

pytestmark = pytest.mark.slow
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def tiny_backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_length=98,
        frequency_stride=16,
        time_stride=16,
    )
    ASTModel(config).save_pretrained(folder)
    return str(folder)


def last_line(script: str, *arguments: str) -> dict:
    command = [sys.executable, str(BENCHMARKS / script), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return checked(done.stdout)


def checked(printed: str) -> dict:
    result = json.loads(printed.strip().splitlines()[-1])
    assert result["device"] in ("cpu", "cuda")
    assert result["machine"]
    assert set(result["met"]) == set(result["goals"])
    return result


@pytest.fixture
def one_ray(monkeypatch):
    """The first Ray that is started serves until the end of the test: the start of each takes seconds."""
    import ray

    start, stop = ray.init, ray.shutdown
    monkeypatch.setattr(ray, "init", lambda *args, **options: None if ray.is_initialized() else start(*args, **options))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    yield
    stop()


def last_line_here(script: str, *arguments: str) -> dict:
    """`last_line` without a process of its own."""
    done = run_here(BENCHMARKS / script, *arguments, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    return checked(done.stdout)


def assert_ratios(result: dict, *keys: str) -> None:
    for key in keys:
        assert math.isfinite(result[key]), key
        assert result[key] > 0, key


def test_step_time_reports_every_variant_over_single():
    sizes = ["--layers", "1", "--tokens", "26", "--batch", "1", "--hidden-size", "64", "--num-experts", "3"]
    result = last_line("step_time.py", *sizes, "--rounds", "2", "--warm-up", "1", "--device", "cpu")
    for name in ("dense_moa", "soft_moa", "plain_loop_dense_moa"):
        assert_ratios(result, f"{name}_over_single", f"{name}_over_single_median")
    assert set(result["met"]) == {"dense_moa_over_single", "soft_moa_over_single"}
    assert set(result["milliseconds"]) == {"single", "dense_moa", "soft_moa", "plain_loop_dense_moa"}


def test_warm_workers_gives_the_same_results_both_ways(tiny_backbone, one_ray):
    sizes = ["--trials", "2", "--repeats", "1", "--epochs", "1", "--train-clips", "8", "--val-clips", "4"]
    result = last_line_here("warm_workers.py", *sizes, "--backbone", tiny_backbone)
    keys = ("warm_over_cold", "warm_over_cold_first_start_to_end", "warm_over_cold_wall")
    assert_ratios(result, *keys, "warm_trials_per_hour", "cold_trials_per_hour")
    if result["device"] == "cpu":
        assert result["same_results"] is True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from Linux's /proc")
def test_peak_memory_accounts_for_every_part(tiny_backbone):
    sizes = [
        "--clips",
        "40",
        "--batch",
        "4",
        "--epochs",
        "1",
        "--trials",
        "4",
        "--device",
        "cpu",
        "--allocator",
        "system",
    ]
    result = last_line("peak_memory.py", "--backbone", tiny_backbone, *sizes)
    assert_ratios(result, "peak_over_needed", "growth_over_50_trials", "peak_bytes")
    assert result["needed"]["features"] == 40 * 98 * 128 * 2
    assert all(size > 0 for size in result["needed"].values())
    assert sum(result["needed"].values()) == result["needed_bytes"]
    assert len(result["warm_peak_bytes"]) == 4


def test_driver_scale_takes_every_result_in_each_way(one_ray):
    # `tracker` is `journal` and what `pareto_asha` has, too.
    ways = ("ray", "journal", "pareto_asha")
    result = last_line_here("driver_scale.py", "--trials", "10", "--epochs", "4", "--at-once", "2", "--ways", *ways)
    for way in ways:
        rates = [f"{way}_{key}_per_second" for key in ("results", "trials")]
        assert_ratios(result, *rates, f"{way}_growth", f"{way}_cpu_growth", f"{way}_results_per_cpu_second")
        assert set(result[f"{way}_seconds_per_trial"]) == {"2", "3", "10"}
    assert [result[f"{way}_num_results"] for way in ways[:2]] == [40, 40]
    assert 10 <= result["pareto_asha_num_results"] <= 40  # how many it stops hangs on the order in which trials come
    assert set(result["journal_cpu_seconds"]) == {"driver", "sampler", "scheduler", "journal", "display", "ray"}
    assert all(seconds > 0 for seconds in result["journal_cpu_seconds"].values())
    assert result["ray_cpu_seconds"]["driver"] == 0
    assert result["pareto_asha_close_seconds"] > 0
    assert set(result["met"]) == {"journal_results_per_second", "journal_growth"}


@pytest.fixture
def search_quality(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("search_quality")


@pytest.mark.parametrize("way", ["random alone", "ehvi + pareto_asha", "Ray: OptunaSearch on both + ASHA"])
def test_search_quality_measures_what_a_search_found_when(search_quality, tmp_path, way):
    """Against the recorded grid itself: all of its hypervolume once everything has completed, the front's points each
    begun once, and as many epochs spent as the trials had."""
    table = curves(epochs=4, seeds=(0, 1))
    table.save(tmp_path / "grid.gz")
    options = search_quality.Options(curves=tmp_path / "grid.gz", until=1.0)
    row = search_quality.one_replay(way, 1, options)
    assert row["grid_epochs"] == 4 * len(table.candidates)
    assert row["front"] == len(frontier.front(table.scores()))
    assert list(row["share_at"].values()) == sorted(row["share_at"].values())
    reached = [epochs for epochs in row["epochs_to"].values() if epochs is not None]
    assert reached == sorted(reached)
    if way == "random alone":
        assert (row["trials"], row["stopped"], row["lost"]) == (len(table.candidates), 0, 0)
        assert row["begun"] == row["front"]
        assert len(reached) == 3
    else:
        assert 0 < row["stopped"] < row["trials"]
        assert row["lost"] <= row["begun"] <= row["front"]


def test_search_quality_runs_every_way_once_and_goes_on(search_quality, tmp_path, capsys):
    curves(epochs=4, seeds=(0, 1)).save(tmp_path / "grid.gz")
    options = search_quality.Options(
        curves=tmp_path / "grid.gz", out=tmp_path / "rows.jsonl", seeds=2, only="random", processes=1, until=0.5
    )
    search_quality.main(options)
    rows = options.out.read_text().splitlines()
    ways = [way for way in search_quality.EVERY if "random" in way]
    assert [(json.loads(row)["way"], json.loads(row)["seed"]) for row in rows] == [
        (way, seed) for seed in (0, 1) for way in ways
    ]
    table = capsys.readouterr().out
    assert all(way in table for way in ways)
    search_quality.main(options)
    assert options.out.read_text().splitlines() == rows, "what is there is not run again"


@pytest.mark.parametrize(("num_experts", "bottleneck_dim"), [(1, 1), (14, 1), (3, 5)])
def test_plain_loop_dense_moa_is_the_same_function(monkeypatch, num_experts, bottleneck_dim):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from step_time import PlainLoopDenseMoA

    generator = torch.Generator().manual_seed(num_experts)
    fused = DenseMoA(BottleneckExperts(16, num_experts, bottleneck_dim, generator), generator).double()
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.normal_(generator=generator)
    plain = PlainLoopDenseMoA.like(fused)
    x = torch.randn(2, 7, 16, dtype=torch.float64, generator=generator)
    expected = plain(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(fused(x), expected, rtol=1e-10, atol=1e-12)
