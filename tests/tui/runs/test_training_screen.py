"""The training screen: the newest run or the one attached to, read and never touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from qdl_engine.core.events import Evaluated, Metrics, Started, append_event
from qdl_engine.core.lab import Lab
from qdl_engine.runs.reader import RunSummary
from qdl_engine.runs.store import Run, State, create_run, save_run
from qdl_tui.app import QdlApp
from qdl_tui.runs.feed import TrainingFeed, figures, fit, head
from qdl_tui.shared.state import load_state
from tests.tui.conftest import finished_run, opened
from tests.tui.screen import check_golden, screen_text, settled


def told_run(
    lab: Lab, *, state: State = "done", factor: float = 1.0, message: str = "", hint: str = ""
) -> Run:
    """A training of 40 steps that tells all that the built-in runtime tells on a CPU."""
    run = finished_run(lab, losses=0)
    append_event(run.events_file, Started(total_steps=40, device="CPU"))
    for step in range(1, 41):
        append_event(
            run.events_file,
            Metrics(
                step=step,
                total_steps=40,
                epoch=step / 20,
                loss=factor * 3.0 / step,
                learning_rate=2e-5 * (1 - step / 40),
                grad_norm=1.0 + step % 7,
                eta_seconds=40.0 - step,
                tokens_per_second=16000.0 + step,
                memory_bytes=1.2e9 + 1e6 * step,
            ),
        )
        if step % 10 == 0:
            append_event(run.events_file, Evaluated(step=step, held_out_loss=factor * 3.5 / step))
    run = replace(run, state=state, message=message, hint=hint)
    save_run(run)
    return run


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40)])
async def test_a_run_shows_its_state_its_loss_and_its_log(lab: Lab, size: tuple[int, int]) -> None:
    told_run(lab)
    async with opened(lab, "5", size=size) as (app, pilot):
        await settled(app, pilot)
        check_golden(f"training-{size[0]}x{size[1]}", screen_text(app), lab.root)


async def test_attaching_from_the_runs_is_remembered(lab: Lab) -> None:
    first = finished_run(lab)
    finished_run(lab)
    async with opened(lab, "4") as (app, pilot):
        await pilot.press("j", "enter")
        await settled(app, pilot)
        assert first.id in screen_text(app)
        assert "2 of 2" in screen_text(app)
    assert load_state().last_run == {str(lab.root): first.id}

    again = QdlApp(lab)
    async with again.run_test(size=(80, 24)) as pilot:
        await settled(again, pilot)
        await pilot.press("5")
        await settled(again, pilot)
        assert first.id in screen_text(again)


async def test_new_events_are_seen_at_the_next_tick(lab: Lab) -> None:
    run = finished_run(lab, losses=3)
    async with opened(lab, "5") as (app, pilot):
        assert "step 3/3" in screen_text(app)
        append_event(run.events_file, Metrics(step=4, total_steps=8, loss=float("nan")))
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "step 4/8" in screen_text(app)
        assert "loss nan" in screen_text(app)


async def test_zoom_gives_the_screen_to_one_pane(lab: Lab) -> None:
    finished_run(lab)
    async with opened(lab, "5") as (app, pilot):
        await pilot.press("z")
        await pilot.pause()
        assert not app.screen.query_one("#charts").display
        await pilot.press("z")
        await pilot.pause()
        assert app.screen.query_one("#charts").display


async def at_training(app: QdlApp, pilot: Pilot[None]) -> None:
    await settled(app, pilot)
    await pilot.press("5")
    await settled(app, pilot)
    await settled(app, pilot)


async def test_at_80_columns_a_key_goes_from_panel_to_panel(lab: Lab) -> None:
    told_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_training(app, pilot)
        seen = []
        for _ in range(6):
            line = screen_text(app).splitlines()[4]
            seen.append((line.split("  ")[0], line.split()[-1]))
            await pilot.press("p")
            await settled(app, pilot)
        assert seen == [
            ("loss", "1/5"),
            ("learning rate 0", "2/5"),
            ("gradient norm 6", "3/5"),
            ("tokens/s 16k", "4/5"),
            ("memory, GB 1.24", "5/5"),
            ("loss", "1/5"),
        ]


async def test_log_scale_and_smoothing_are_of_the_panel_on_show_and_seen(lab: Lab) -> None:
    told_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_training(app, pilot)
        await pilot.press("y", "e")
        await settled(app, pilot)
        assert screen_text(app).splitlines()[4].endswith("log y  smoothed 0.6  p 1/5")
        await pilot.press("p")
        await settled(app, pilot)
        assert "log y" not in screen_text(app)


async def test_at_120_columns_all_panels_are_beside_the_log(lab: Lab) -> None:
    told_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        shown = screen_text(app)
        for title in (
            "loss  A train 0.075  B held out 0.087",
            "learning rate 0",
            "gradient norm 6",
            "tokens/s",
        ):
            assert title in shown
        await pilot.press("p", "p", "z")
        await settled(app, pilot)
        shown = screen_text(app)
        assert "learning rate 0" in shown and "gradient norm" not in shown and "FOLLOW" not in shown
        await pilot.press("z")
        await settled(app, pilot)
        assert "gradient norm" in screen_text(app) and "FOLLOW" in screen_text(app)


async def test_what_a_run_never_told_has_no_panel_and_no_figure(lab: Lab) -> None:
    finished_run(lab, losses=10)
    app = QdlApp(lab)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_training(app, pilot)
        shown = screen_text(app)
        assert "loss 0.3" in shown
        assert not any(word in shown for word in ("GPU", "memory", "gradient norm", "learning rate"))


async def test_another_runs_curve_is_laid_over_and_taken_off(lab: Lab) -> None:
    other = told_run(lab, factor=2.0)
    told_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_training(app, pilot)
        await pilot.press("v")
        await settled(app, pilot)
        assert f"{other.id}  done  loss 0.150" in screen_text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        entries = "loss  A 0002 train  B 0002 held out  C 0001 train  D 0001 held out"
        assert screen_text(app).splitlines()[4].startswith(entries)
        check_golden("training-overlay-80x24", screen_text(app), lab.root)
        await pilot.press("p")
        await settled(app, pilot)
        assert "learning rate  A 0002 0  B 0001 0" in screen_text(app)
        await pilot.press("v", "j", "enter")
        await settled(app, pilot)
        assert "0001" not in screen_text(app)


async def test_a_long_message_is_told_whole_at_80_columns(lab: Lab) -> None:
    hint = (
        "Set in [system1]: batch_size = 2, gradient_accumulation = 8. If that is not enough: lora_rank = 16."
    )
    told_run(lab, state="failed", message="Out of GPU memory on NVIDIA T4", hint=hint)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await at_training(app, pilot)
        shown = " ".join(screen_text(app).split())
        assert f"Out of GPU memory on NVIDIA T4. {hint}" in shown


def test_figures_take_shorter_words_and_then_leave_out_the_last() -> None:
    parts = [("step 1/2", "1/2"), ("held out 1.5", "held 1.5"), ("epoch 1.00", "ep 1.00")]
    assert fit(parts, 80) == ["step 1/2 · held out 1.5 · epoch 1.00"]
    assert fit(parts, 24) == ["step 1/2 · held out 1.5", "epoch 1.00"]
    assert fit(parts, 12) == ["1/2", "held 1.5"]
    assert fit(parts, 17) == ["1/2 · held 1.5", "ep 1.00"]


async def test_a_held_out_loss_from_before_the_last_step_says_of_which_it_is(lab: Lab) -> None:
    run = finished_run(lab)
    append_event(run.events_file, Evaluated(step=0, held_out_loss=5.597))
    append_event(run.events_file, Metrics(step=400, total_steps=900, loss=1.388))
    told = "held out 5.597 at step 0"
    async with opened(lab, "5", size=(120, 30)) as (app, pilot):
        assert f"loss 1.388 · {told}" in screen_text(app)
        await pilot.press("4")
        await settled(app, pilot)
        assert told in screen_text(app)
        append_event(run.events_file, Evaluated(step=400, held_out_loss=1.5))
        await pilot.press("5")
        await settled(app, pilot)
        assert "held out 1.500 ·" in screen_text(app)


def test_a_labelling_tells_speed_cost_and_failures(lab: Lab) -> None:
    run = replace(finished_run(lab, state="running"), kind="label", ended=None)
    summary = RunSummary(
        stage="label", done=12, total=90, unit="prompts", tokens_per_second=987.6, cost=0.0123, failed=2
    )
    (line,) = fit(figures(run, summary), 118, rows=1)
    assert line.startswith("label 12 of 90 prompts · 988 tokens/s · cost 0.0123 · 2 failed")


def test_a_training_that_loads_again_has_no_speed(lab: Lab) -> None:
    run = replace(finished_run(lab, state="running"), ended=None)
    summary = RunSummary(stage="train", step=400, total_steps=900, loss=0.5, tokens_per_second=9000.0)
    assert "step 400/900 · loss 0.500 · 9,000 tokens/s" in fit(figures(run, summary), 118)[0]
    assert "tokens/s" not in fit(figures(run, replace(summary, stage="load")), 118)[0]
    assert "tokens/s" in fit(figures(replace(run, state="done"), replace(summary, stage="save")), 118)[0]


def test_the_first_line_fits_whatever_the_name_is(lab: Lab) -> None:
    run = replace(finished_run(lab, state="running"), id="0012-evaluate-system2", name="n" * 60)
    summary = RunSummary(progress=0.5, eta_seconds=3723.0)
    for width in (60, 78, 118):
        title, rest = head(run, summary, "12 of 40", width)
        assert len(title) + len(rest) <= width
        assert title.startswith(run.id) and rest.endswith("50%  ETA 1:02:03  12 of 40")


async def test_where_the_bar_has_no_room_its_share_stands_alone_on_one_line(lab: Lab) -> None:
    run = replace(finished_run(lab, state="running"), id="0006-train-system1", name="")
    summary = RunSummary(progress=0.17, eta_seconds=389.0)
    room = 60 - 2 - len("▶ running  ") - 2
    title, rest = head(run, summary, "1 of 6", room)
    assert (title, rest) == (run.id, "17%  ETA 6:29  1 of 6")
    assert head(run, summary, "1 of 6", room + 4)[1] == "━───── 17%  ETA 6:29  1 of 6"
    assert head(run, summary, "1 of 6", 78)[1].endswith(" 17%  ETA 6:29  run 1 of 6")


async def test_without_runs_it_says_where_to_start_one(lab: Lab) -> None:
    async with opened(lab, "5") as (app, _pilot):
        assert "No runs yet. The lab screen (1) starts one" in screen_text(app)


def test_without_a_choice_the_training_is_shown_and_not_a_later_job(lab: Lab) -> None:
    training = finished_run(lab)
    later = create_run(lab, "evaluate", system="system1", argv=["true"])
    save_run(replace(later, state="done", started=300.0, ended=301.0, exit_code=0))
    view = TrainingFeed().read(lab, "")
    assert view is not None
    assert (view.run.id, view.position) == (training.id, 2)
