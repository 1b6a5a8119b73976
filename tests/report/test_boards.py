import csv
import io
import json
import re
from dataclasses import replace

import pytest

from harness.report.boards import render_leaderboard
from harness.report.leaderboard import leaderboard
from harness.store.writer import Store, write_attempt
from harness.testing.rows import add_scores, score, toy_run


@pytest.fixture
def filled(store: Store) -> Store:
    add_scores(store, "alpha", [[0.25], [0.75]], first=1)
    add_scores(store, "beta", [[0.5]], first=10)
    write_attempt(store, toy_run(20, method="beta", seed=1, status="failed", data_digest=None))
    write_attempt(store, toy_run(21, smoke=True), metrics=[score(0.9)])
    return store


def test_a_board_says_what_it_compares_and_what_it_left_out(filled: Store):
    lines = render_leaderboard(leaderboard(filled), "table").splitlines()

    assert lines[0] == "toy v1 (a1b2c3d4, data d4c3b2a1), map_at_r on toys"
    assert lines[2].split()[:5] == ["rank", "method", "map_at_r", "low", "high"]
    assert lines[4].split()[:3] == ["1-2", "alpha", "0.5000"]
    assert lines[5].split()[:4] == ["1-2", "beta", "*", "0.5000"]
    assert lines[-2:] == [
        "* over the runs that ended well only.",
        "Left out: rehearsals (--smoke): 1.",
    ]


def test_columns_without_a_value_are_not_shown(filled: Store):
    assert "oracle" not in render_leaderboard(leaderboard(filled), "table")


def test_older_boards_are_announced_and_shown_on_request(filled: Store):
    write_attempt(filled, toy_run(30, protocol_digest="f" * 64), metrics=[score(0.1)])
    found = leaderboard(filled)

    announced = render_leaderboard(found, "table")
    every = render_leaderboard(found, "table", every=True)

    assert announced.startswith("toy v1 (ffffffff")
    assert "Not comparable with these, and not shown:\n  toy v1 (a1b2c3d4" in announced
    assert "0.5000" not in announced
    assert "0.5000" in every


def test_a_leaderboard_in_json_has_every_board(filled: Store):
    found = json.loads(render_leaderboard(leaderboard(filled), "json"))

    ((board,), version) = found["boards"], found["schema_version"]
    assert (version, board["protocol"], board["excluded"]) == (
        1,
        "toy",
        {"rehearsals (--smoke)": 1},
    )
    alpha, beta = board["rows"]
    assert (alpha["rank"], alpha["mean"], alpha["num_seeds"], alpha["complete"]) == (
        1,
        0.5,
        2,
        True,
    )
    assert (beta["low"], beta["num_failed"], beta["complete"]) == (None, 1, False)


def test_a_leaderboard_in_csv_is_a_plain_table(filled: Store):
    first, second, *_ = csv.DictReader(io.StringIO(render_leaderboard(leaderboard(filled), "csv")))

    assert (first["method"], float(first["map_at_r"])) == ("alpha", 0.5)
    assert (second["method"], second["low"], second["failed"]) == ("beta", "", "1")


def by_method(found: str) -> dict[str, dict[str, str]]:
    return {row["method"]: row for row in csv.DictReader(io.StringIO(found))}


def test_planned_ok_failed_and_missing_stand_beside_each_mean(filled: Store):
    write_attempt(filled, toy_run(25, method="beta", seed=2, fold=1, status="failed"))

    beta = by_method(render_leaderboard(leaderboard(filled), "csv"))["beta"]
    text = render_leaderboard(leaderboard(filled), "table")

    assert [beta[n] for n in ("planned", "ok", "failed", "missing")] == ["6", "1", "2", "3"]
    assert " 1/6 " in text
    assert "failed  missing" in text


def test_the_oracle_is_greyed_on_a_terminal_and_in_papers(store: Store):
    values = [score(0.4), score(0.6, epoch=2, selected=False)]
    write_attempt(store, toy_run(1), metrics=values)
    found = leaderboard(store)

    assert "\x1b[2m         0.6000\x1b[0m  \x1b[2m0.2000\x1b[0m" in render_leaderboard(
        found, "table", width=200
    )
    assert "\x1b" not in render_leaderboard(found, "table")
    assert "| <sub>0.6000</sub> | <sub>0.2000</sub> |" in render_leaderboard(found, "md")
    assert r"\textcolor{gray}{0.6000} & \textcolor{gray}{0.2000}" in render_leaderboard(
        found, "latex"
    )


def costly(number: int, method: str, device: str, seconds: float):
    return toy_run(
        number,
        method=method,
        device=device,
        train_seconds=seconds,
        eval_seconds=1.0,
        images_per_second=100.0,
        peak_memory_mib=512.0,
    )


def test_seconds_of_two_kinds_of_device_are_never_one_column(store: Store):
    write_attempt(store, costly(1, "alpha", "cpu", 50.0), metrics=[score(0.5)])
    write_attempt(store, costly(2, "beta", "cuda", 5.0), metrics=[score(0.4)])

    header, _, first, second = render_leaderboard(leaderboard(store), "table").splitlines()[2:6]

    assert header.split()[-6:] == ["cpu", "s", "cuda", "s", "images/s", "MiB"]
    assert first.split()[-3:] == ["51.0", "100.0", "512.0"]
    assert second.split()[-3:] == ["6.0000", "100.0", "512.0"]
    assert second.index("6.0000") > first.index("51.0")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_board_fits_the_terminal_and_says_what_it_left_out(store: Store, width: int):
    values = [score(0.4), score(0.6, epoch=2, selected=False), score(0.1, epoch=0, selected=False)]
    for seed in range(2):
        run = costly(seed, "alpha", "cpu", 50.0 + seed)
        write_attempt(store, replace(run, seed=seed), metrics=values)

    lines = render_leaderboard(leaderboard(store), "table", width=width).splitlines()

    plain = [re.sub("\x1b[^m]*m", "", line) for line in lines[2:5]]
    assert max(map(len, plain)) <= width
    assert plain[0].split()[:5] == ["rank", "method", "map_at_r", "low", "high"]
    assert any(line.startswith("Too narrow for") for line in lines) == (width < 140)


def test_what_papers_print_stands_beside_the_same_loss_and_backbone_only(store: Store):
    shared = {"protocol": "mlrc_cub", "dataset": "cub200", "loss": "contrastive"}
    ours = toy_run(1, method="contrastive", backbone="bn_inception", **shared)
    mined = toy_run(2, method="mined", backbone="bn_inception", miner="batch_hard", **shared)
    other = toy_run(3, method="other", backbone="resnet50", **shared)
    for run in (ours, mined, other):
        write_attempt(store, run, metrics=[score(0.2)])

    rows = by_method(render_leaderboard(leaderboard(store), "csv"))
    text = render_leaderboard(leaderboard(store), "table")

    assert 0.1 < float(rows["contrastive"]["paper_low"]) < 0.3
    assert rows["mined"]["paper_low"] == rows["other"]["paper_low"] == ""
    assert "paper: printed for this loss" in text


def test_methods_that_are_not_told_apart_share_a_rank(store: Store):
    for method, base in (("best", 0.8), ("one", 0.5), ("two", 0.5)):
        noise = {"best": 0.0, "one": 0.01, "two": -0.01}[method]
        values = [[base + 0.001 * seed + noise * (-1) ** seed] for seed in range(5)]
        add_scores(store, method, values, first=first_number(method))

    found = json.loads(render_leaderboard(leaderboard(store), "json"))["boards"][0]["rows"]

    places = {row["method"]: (row["rank"], row["last_rank"], row["ties"]) for row in found}
    assert places == {"best": (1, 1, []), "one": (2, 3, ["two"]), "two": (2, 3, ["one"])}


def first_number(method: str) -> int:
    return 10 * ["best", "one", "two"].index(method) + 1


def test_long_names_give_way_before_numbers_do_and_stay_apart(store: Store):
    names = [f"multi_similarity+multi_similarity[loss.alpha={alpha}]" for alpha in (2, 3)]
    for number, name in enumerate(names):
        run = costly(number, name, "cpu", 50.0)
        write_attempt(store, run, metrics=[score(0.5)])

    lines = render_leaderboard(leaderboard(store), "table", width=80).splitlines()

    shown = [line.split()[1] for line in lines[4:6]]
    assert shown == ["multi_similari…loss.alpha=2]", "multi_similari…loss.alpha=3]"]
    assert max(map(len, lines[2:6])) <= 80
    assert names[0] in render_leaderboard(leaderboard(store), "table")
