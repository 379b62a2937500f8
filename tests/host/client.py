"""What the tests ask of a running web UI, over its API and the extension's."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

ERASE = "/adversarial-erase/v1"
SIZE = 128  # emoji-SD's
LONG = 1200.0  # seconds; a machine may be slow and busy
EMOJI = "emoji-sd.safetensors"
# Miniatures of other families (emoji_sd/making/README.md), and what web UIs call their LoRAs.
OTHERS = {"emoji-sd-2v.safetensors": "SD2", "emoji-sdxl.safetensors": "SDXL"}
# A training of seconds: few updates, few neighbours, no test of synonyms, a rate that shows at once.
SHORT = {"steps": 6, "neighbours": 6, "synonym_threshold": 0, "warmup": 0, "learning_rate": 0.01}
# One of minutes, for a full-size model on a CPU: small pictures, no vocabulary to look through, and nothing to judge.
SMALL = {"steps": 4, "adversary": "anchor", "resolution": 64, "sampling_steps": 2, "rank": 4, "alpha": 4,
         "look_every": 0, "judged_words": 0}  # fmt: skip
UNJUDGED: dict[str, Any] = {"look_every": 0, "judged_words": 0}
ROUNDING = 0.1  # levels of 255: what another order of summing, or one rounding to fp16, may add


@dataclass
class Client:
    """A client of a running web UI; ``checkpoint`` is the one that pictures are drawn with."""

    url: str
    checkpoint: str = EMOJI
    _jobs: list[str] = field(default_factory=list)

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask("POST", path, body or {})

    def put(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("PUT", path, body)

    @property
    def draws_emoji(self) -> bool:
        return EMOJI in self.checkpoint

    def select(self, title: str) -> None:
        """Draw with this checkpoint from now on."""
        self.post("/sdapi/v1/options", {"sd_model_checkpoint": title})
        self.checkpoint = title

    def txt2img(self, prompt: str, seed: int = 1) -> Image.Image:
        """Return a small picture; the same words and seed give the same one."""
        mini = any(title in self.checkpoint for title in (EMOJI, *OTHERS))
        size, steps = (SIZE, 8) if mini else (64, 2)
        asked = {"prompt": prompt, "seed": seed, "steps": steps, "cfg_scale": 4, "sampler_name": "DDIM"}
        answer = self.post("/sdapi/v1/txt2img", {**asked, "width": size, "height": size, "save_images": False})
        data = answer["images"][0].rpartition(",")[2]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def progress(self) -> Any:
        return self.get("/sdapi/v1/progress?skip_current_image=false")

    def erase(self, concept: str, name: str, checkpoint: str = EMOJI, **settings: Any) -> str:
        """Start an erasure, and return the job's id."""
        config = {**SHORT, "erase": [concept], **settings}
        body = {"name": name, "checkpoint": checkpoint, "preset": "object", "config": config}
        job = str(self.post(f"{ERASE}/jobs", body)["id"])
        self._jobs.append(job)
        return job

    def job(self, id: str) -> Any:
        return self.get(f"{ERASE}/jobs/{id}")

    def act(self, id: str, action: str) -> None:
        self.post(f"{ERASE}/jobs/{id}/{action}")

    def wait(self, id: str, good: Callable[[Any], bool]) -> Any:
        """Return the job once ``good`` accepts it. Fails if the job failed, or takes too long."""
        end = time.monotonic() + LONG
        while True:
            job = self.job(id)
            if good(job):
                return job
            assert job["state"] != "failed", job["problem"]
            assert time.monotonic() < end, f"still {job['state']}: {job['message']}"
            time.sleep(0.3)

    def errand(self, what: str, order: dict[str, Any]) -> Any:
        """Begin to combine or bake, and return what came of it. Fails if it takes too long."""
        state = self.post(f"{ERASE}/{what}", order)["state"]
        end = time.monotonic() + LONG
        while (now := self.get(f"{ERASE}/{what}"))["state"] == state:
            assert time.monotonic() < end, f"still {state}: {now['message']}"
            time.sleep(0.3)
        return now

    def loras(self) -> list[str]:
        self.post("/sdapi/v1/refresh-loras")
        return [lora["name"] for lora in self.get("/sdapi/v1/loras")]

    def give_up_jobs(self) -> None:
        for id in self._jobs:
            try:
                job = self.job(id)
            except urllib.error.HTTPError:
                continue
            if "discard" in job["actions"]:
                self.act(id, "discard")

    def download(self, path: str) -> bytes:
        return self._answer("GET", path)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return json.loads(self._answer(method, path, body))

    def _answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=LONG) as answer:
            content: bytes = answer.read()
            return content


def tags(*names: str) -> str:
    """Return what turns LoRAs on in a prompt."""
    return " ".join(f"<lora:{name}:1>" for name in names)


def new_name(what: str) -> str:
    """Return a LoRA name that is not taken."""
    return f"host-test-{what}-{time.strftime('%m%d-%H%M%S')}"
