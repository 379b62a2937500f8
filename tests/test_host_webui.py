"""The adapter to web UIs, against a stand-in for AUTOMATIC1111 and for Forge."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from erasure.errors import RunError
from erasure.host.base import TextToImage
from erasure.model.opening import Opening
from tests.webui import WebUI, start_webui


@pytest.fixture
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    yield from start_webui(tmp_path / "webui", monkeypatch)


def shown(webui: WebUI) -> SimpleNamespace:
    """Return what the page's progress bar shows of the current task."""
    answer: SimpleNamespace = webui.progress.progressapi(SimpleNamespace(id_task=webui.progress.current_task))
    return answer


# --- what there is


def test_the_selected_checkpoint_is_known_before_it_is_loaded(webui: WebUI) -> None:
    webui.shared.opts.data["sd_model_checkpoint"] = "sub/b.safetensors"
    current = webui.host().current_checkpoint()
    assert (current.title, current.path) == ("sub/b.safetensors", webui.models / "sub" / "b.safetensors")
    assert webui.sd_models.model_data.sd_model is None


def test_a_title_stays_when_the_hash_becomes_known(webui: WebUI) -> None:
    before = webui.host().checkpoints()
    webui.shared.sd_model  # noqa: B018  loads it
    assert "[" in webui.sd_models.model_data.sd_model.sd_checkpoint_info.title
    assert sorted(one.title for one in before) == ["a.safetensors", "sub/b.safetensors"]
    assert set(webui.host().checkpoints()) == set(before)


def test_a_new_checkpoint_is_found_once_the_web_ui_has_looked_again(webui: WebUI) -> None:
    host = webui.host()
    base = webui.models / "sub" / "b.safetensors"
    folder = host.folder_for_new(base)
    assert folder == base.parent
    shutil.copy(base, folder / "new.safetensors")
    assert "sub/new.safetensors" not in [one.title for one in host.checkpoints()]
    host.look_for_checkpoints()
    assert "sub/new.safetensors" in [one.title for one in host.checkpoints()]


def test_a_checkpoint_of_the_command_line_does_not_take_the_place_of_the_selected_one(webui: WebUI) -> None:
    host, sd_models, opts = webui.host(), webui.sd_models, webui.shared.opts
    webui.shared.cmd_opts.ckpt = str(webui.models / "a.safetensors")
    opts.data["sd_model_checkpoint"] = "sub/b.safetensors"
    host.look_for_checkpoints()
    assert opts.data["sd_model_checkpoint"] == "sub/b.safetensors"
    sd_models.list_models()  # as the web UI's own buttons do
    assert host.current_checkpoint().title == "sub/b.safetensors"
    (webui.models / "sub" / "b.safetensors").unlink()
    sd_models.list_models()
    assert host.current_checkpoint().title == "a.safetensors"


@pytest.mark.parametrize("forge", [False, True])
def test_no_checkpoint_at_all_is_none(webui: WebUI, forge: bool) -> None:
    if forge:
        webui.forge()
    webui.sd_models.checkpoints_list.clear()
    assert webui.host().current_checkpoint() is None
    with pytest.raises(RunError, match="no checkpoint"):
        webui.host().draw(TextToImage("a dog"))


def test_loras_go_where_the_web_ui_looks_for_them(webui: WebUI, tmp_path: Path) -> None:
    assert webui.host().lora_folder() == webui.root / "models" / "Lora"
    webui.shared.cmd_opts.lora_dir = str(tmp_path / "elsewhere")
    assert webui.host().lora_folder() == tmp_path / "elsewhere"
    del webui.shared.cmd_opts.lora_dir
    assert webui.host().lora_folder() == webui.root / "models" / "Lora"


def test_data_is_outside_of_the_extension_and_moves_with_flag_and_setting(webui: WebUI, tmp_path: Path) -> None:
    assert webui.host().data_folder() == webui.root / "adversarial-erase"
    webui.shared.opts.data["adversarial_erase_data"] = str(tmp_path / "by-setting")
    assert webui.host().data_folder() == tmp_path / "by-setting"
    webui.shared.cmd_opts.adversarial_erase_data = str(tmp_path / "by-flag")
    assert webui.host().data_folder() == tmp_path / "by-flag"


def test_the_page_uploads_only_if_the_command_line_says_so(webui: WebUI) -> None:
    assert webui.host().uploads() is False
    webui.shared.cmd_opts.adversarial_erase_upload = True
    assert webui.host().uploads() is True


def test_the_device_is_the_web_uis_unless_the_setting_names_another(webui: WebUI) -> None:
    assert webui.host().device() == "gpu"
    webui.shared.opts.data["adversarial_erase_device"] = "cuda:1"
    assert webui.host().device() == "cuda:1"


def test_the_vae_that_was_chosen_is_a_spare_one(webui: WebUI) -> None:
    assert webui.host().opening(webui.models / "a.safetensors") == Opening()  # as long as none was chosen
    webui.sd_vae.chosen = "/models/VAE/mine.safetensors"
    opening = webui.host().opening(webui.models / "a.safetensors")
    assert opening == Opening(spare_vae=Path("/models/VAE/mine.safetensors"))
    assert webui.sd_vae.asked == [str(webui.models / "a.safetensors")] * 2


def test_forge_draws_with_plain_weights_and_a_vae_from_its_list(webui: WebUI, tmp_path: Path) -> None:
    webui.forge()
    assert webui.host().opening(webui.models / "a.safetensors") == Opening("plain")
    text, vae = tmp_path / "clip.safetensors", tmp_path / "mine.safetensors"
    save_file({"text_model.final_layer_norm.weight": torch.zeros(2)}, text)
    save_file({"decoder.conv_in.weight": torch.zeros(2)}, vae)
    webui.shared.opts.data["forge_additional_modules"] = [str(tmp_path / "gone.pt"), str(text), str(vae)]
    assert webui.host().opening(webui.models / "a.safetensors") == Opening("plain", spare_vae=vae)


def test_gradio_gives_no_run_to_anybody(webui: WebUI) -> None:
    webui.host()
    from erasure.host.webui import keep_private

    demo = SimpleNamespace(blocked_paths=["/elsewhere"])
    keep_private(demo)
    keep_private(demo)
    assert demo.blocked_paths == ["/elsewhere", str(webui.root / "adversarial-erase")]
    keep_private(None)


# --- holding the device


def test_the_model_is_away_inside_and_back_afterwards(webui: WebUI) -> None:
    model = webui.shared.sd_model
    with webui.host().exclusive("Erasing dog"):
        assert model.device == "cpu"
    assert model.device == "gpu"


def test_a_model_that_was_never_loaded_stays_so(webui: WebUI) -> None:
    with webui.host().exclusive("Erasing dog"):
        pass
    assert webui.sd_models.model_data.sd_model is None


def test_forge_unloads_all_and_loads_again_with_the_next_picture(webui: WebUI) -> None:
    forge = webui.forge()
    before = webui.host().draw(TextToImage("a dog", size=64))
    with webui.host().exclusive("Erasing dog"):
        assert forge.unloaded == 1
        assert webui.sd_models.model_data.sd_model.device == "cpu"
    assert webui.host().draw(TextToImage("a dog", size=64)).tobytes() == before.tobytes()


def test_holding_waits_until_the_first_model_is_loaded(webui: WebUI) -> None:
    lock, entered = webui.sd_models.model_data.lock, threading.Event()

    def hold() -> None:
        with webui.host().exclusive("Erasing dog"):
            entered.set()

    with lock:  # as while loading
        thread = threading.Thread(target=hold)
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(5)
    thread.join()


def test_a_picture_waits_while_the_device_is_held_and_is_the_same_as_ever(webui: WebUI) -> None:
    request = TextToImage("a dog", size=64)
    before, pictures = webui.host().draw(request), []
    with webui.host().exclusive("Erasing dog"):
        thread = threading.Thread(target=lambda: pictures.append(webui.host().draw(request)))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert not pictures
    thread.join(5)
    assert pictures[0].tobytes() == before.tobytes()


def test_an_error_inside_gives_lock_and_model_back(webui: WebUI) -> None:
    model = webui.shared.sd_model
    with pytest.raises(ZeroDivisionError), webui.host().exclusive("Erasing dog"):
        raise ZeroDivisionError
    assert model.device == "gpu"
    assert webui.call_queue.queue_lock.acquire(blocking=False)
    assert (webui.shared.state.job, webui.shared.state.job_count) == ("", 0)


def test_an_error_of_the_web_ui_itself_still_gives_the_lock_back(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    webui.shared.sd_model  # noqa: B018  loads it

    def fail(m: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(webui.sd_models, "send_model_to_device", fail)
    with pytest.raises(RuntimeError, match="out of memory"), webui.host().exclusive("Erasing dog"):
        pass
    assert webui.call_queue.queue_lock.acquire(blocking=False)
    assert webui.shared.state.job_count == 0
    assert webui.progress.current_task is None


# --- the web UI's progress bar and its Interrupt


def test_the_web_uis_progress_bar_shows_the_run(webui: WebUI) -> None:
    picture = Image.new("RGB", (8, 8))
    with webui.host().exclusive("Erasing dog"):
        assert webui.shared.state.job == "Erasing dog"
        assert (shown(webui).active, shown(webui).progress, shown(webui).textinfo) == (True, 0, "Erasing dog")
        webui.host().show_progress(5, 20, "update 5 of 20", picture)
        assert (shown(webui).progress, shown(webui).textinfo) == (0.25, "update 5 of 20")
        assert shown(webui).live_preview is picture
        task = webui.progress.current_task
    assert webui.progress.current_task is None
    assert task in webui.progress.finished_tasks
    assert not webui.progress.pending_tasks


def test_a_run_that_waits_for_the_device_is_in_the_web_uis_queue(webui: WebUI) -> None:
    def hold() -> None:
        with webui.host().exclusive("Erasing dog"):
            pass

    with webui.call_queue.queue_lock:
        thread = threading.Thread(target=hold)
        thread.start()
        deadline = time.monotonic() + 5
        while not webui.progress.pending_tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [task.startswith("task(adversarial-erase-") for task in webui.progress.pending_tasks] == [True]
    thread.join(5)
    assert not webui.progress.pending_tasks


def test_progress_is_back_after_a_finished_picture_cleared_it(webui: WebUI) -> None:
    done = webui.call_queue.wrap_gradio_gpu_call(lambda task: None)
    done("task(txt2img)")
    with webui.host().exclusive("Erasing dog"):
        webui.shared.state.job_count = 0  # as that picture's cleaning up does, after it gave the lock away
        webui.host().show_progress(5, 20, "update 5 of 20")
        assert shown(webui).progress == 0.25


@pytest.mark.parametrize("press", ["interrupt", "stop_generating"])
def test_interrupt_is_seen_and_forgotten_at_the_end(webui: WebUI, press: str) -> None:
    with webui.host().exclusive("Erasing dog"):
        assert not webui.host().interrupted()
        getattr(webui.shared.state, press)()
        assert webui.host().interrupted()
    assert not webui.shared.state.interrupted
    assert not webui.shared.state.stopping_generation


def test_an_interrupt_of_before_does_not_stop_a_run(webui: WebUI) -> None:
    webui.shared.state.interrupt()
    with webui.host().exclusive("Erasing dog"):
        assert not webui.host().interrupted()


def test_reload_ui_does_not_stop_a_run(webui: WebUI) -> None:
    with webui.host().exclusive("Erasing dog"):
        webui.shared.state.request_restart()
        assert webui.shared.state.server_command == "restart"
        assert not webui.host().interrupted()
        webui.shared.state.interrupt()
        assert webui.host().interrupted()


def test_reload_ui_does_not_stop_a_run_that_asks_at_that_moment(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    pressed, reloaded = threading.Event(), threading.Event()
    answers: list[bool] = []

    class State(type(webui.shared.state)):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if name == "interrupted" and value and threading.current_thread() is worker:
                reloaded.wait(5)  # the reload is over before the run has thought about what it saw
            return value

        def interrupt(self) -> None:
            super().interrupt()
            pressed.set()
            worker.join(0.2)

    def ask() -> None:
        pressed.wait(5)
        answers.append(webui.host().interrupted())

    worker = threading.Thread(target=ask)
    monkeypatch.setattr(webui.shared, "state", State())
    with webui.host().exclusive("Erasing dog"):
        worker.start()
        webui.shared.state.request_restart()
        reloaded.set()
        worker.join(5)
    assert answers == [False]


def test_an_interrupt_just_before_reload_ui_still_stops_a_run(webui: WebUI) -> None:
    with webui.host().exclusive("Erasing dog"):
        webui.shared.state.interrupt()
        webui.shared.state.request_restart()
        assert webui.host().interrupted()


def test_reload_ui_still_interrupts_pictures(webui: WebUI) -> None:
    webui.host()
    webui.shared.state.begin()
    webui.shared.state.request_restart()
    assert webui.shared.state.interrupted


# --- the end of the process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_is_saved_before_the_web_uis_own_handler_ends_the_process(webui: WebUI, number: signal.Signals) -> None:
    seen: list[str] = []
    signal.signal(number, lambda *_: seen.append("ended"))  # as the web UI does before it loads scripts
    webui.host().before_exit(lambda: seen.append("saved"))
    signal.raise_signal(number)
    assert seen == ["saved", "ended"]
    signal.raise_signal(number)  # whoever presses Ctrl-C again does not want to wait
    assert seen == ["saved", "ended", "ended"]


def test_a_signal_that_is_ignored_stays_so(webui: WebUI) -> None:
    seen: list[str] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    webui.host().before_exit(lambda: seen.append("saved"))
    signal.raise_signal(signal.SIGINT)
    assert not seen


def test_a_run_is_saved_before_the_web_ui_stops_or_restarts_itself(webui: WebUI) -> None:
    ended: list[int] = []
    webui.host().before_exit(lambda: ended.append(webui.restart.ended))
    webui.restart.restart_program()
    webui.restart.stop_program()
    assert ended == [0, 1]
    assert webui.restart.ended == 2


def test_the_web_ui_ends_even_if_nothing_can_be_saved(webui: WebUI, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    webui.host().before_exit(fail)
    webui.restart.stop_program()
    assert webui.restart.ended == 1
    assert "the disk is full" in capsys.readouterr().err


# --- pictures


def test_a_picture_is_drawn_as_asked(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    process = webui.processing.process_images

    def watched(p: Any) -> Any:
        seen.append(p)
        return process(p)

    monkeypatch.setattr(webui.processing, "process_images", watched)
    webui.host().draw(TextToImage("a dog <lora:x:1>", "blurry", seed=7, steps=9, guidance=4.5, size=72))
    p = seen[0]
    assert (p.prompt, p.negative_prompt, p.seed, p.steps, p.cfg_scale) == ("a dog <lora:x:1>", "blurry", 7, 9, 4.5)
    assert (p.width, p.height) == (72, 72)
    assert p.do_not_save_samples
    assert p.do_not_save_grid
    assert p.closed
    assert webui.shared.state.job == ""


def test_a_checkpoints_own_size_is_that_of_its_configuration(webui: WebUI, tiny_checkpoint: Path) -> None:
    assert webui.host().draw(TextToImage("a dog")).size == (512, 512)
    shutil.copy(tiny_checkpoint, webui.models / "a.safetensors")
    shutil.copy(tiny_checkpoint.with_suffix(".yaml"), webui.models / "a.yaml")
    shutil.copytree(tiny_checkpoint.with_name("tiny-text"), webui.models / "tiny-text")
    assert webui.host().draw(TextToImage("a dog")).size == (64, 64)


def test_a_failure_of_the_web_ui_gives_the_lock_back(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(p: Any) -> None:
        raise ValueError("no such sampler")

    monkeypatch.setattr(webui.processing, "process_images", fail)
    with pytest.raises(RunError, match="could not draw the picture: ValueError: no such sampler"):
        webui.host().draw(TextToImage("a dog", size=64))
    assert webui.call_queue.queue_lock.acquire(blocking=False)


def test_an_interrupted_picture_is_no_picture(webui: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    process = webui.processing.process_images
    monkeypatch.setattr(webui.processing, "process_images", lambda p: webui.shared.state.interrupt() or process(p))
    with pytest.raises(RunError, match="interrupted"):
        webui.host().draw(TextToImage("a dog", size=64))


# --- the API's guard


def test_the_guard_gets_its_answer_through_a_middleware_that_waits_for_the_caller_to_leave() -> None:
    """AUTOMATIC1111 1.10 has two of this kind; one that never hears of it would hang the whole program."""
    pytest.importorskip("httpx")
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from erasure.api.guard import make_guard

    async def log(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    async def guarded(request: Any) -> Any:
        await make_guard(app)(request)
        return PlainTextResponse("in")

    routes = [Route("/login_check", lambda request: PlainTextResponse("ok")), Route("/guarded", guarded)]
    app = Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=log)])
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(TestClient(app).get("/guarded").text), daemon=True)
    asking.start()
    asking.join(20)
    assert answers == ["in"]
