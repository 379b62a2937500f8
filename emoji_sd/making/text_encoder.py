"""Train the text encoder: CLIP's layout and vocabulary, hidden size 96, four layers, 5.2 M parameters.

``python -m emoji_sd.making.text_encoder --work DIR`` reads ``tokenizer/`` and ``words.npz``, and writes
``text_encoder/`` in transformers' layout. The loss reads concept, style and category from the EOS state and from a
padding state, since cross-attention sees those too. It also pulls the EOS states to where all-MiniLM-L6-v2 places the
texts, so that words which were never drawn still lie near their relatives.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from emoji_sd.captions import PLAIN, STYLE_ONLY, STYLED, SYNONYM_SHARE, fill
from emoji_sd.concepts import CATEGORIES, CONCEPTS, STYLES

HIDDEN = 96
NONE = -100


def make_config() -> CLIPTextConfig:
    """Return SD 1.x's text configuration with small sizes."""
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        projection_dim=HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=49407,
    )


class Heads(nn.Module):
    """Reads from text states what they must hold: concept, style (last class: none), category, sentence embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.concept = nn.Linear(HIDDEN, len(CONCEPTS))
        self.style = nn.Linear(HIDDEN, len(STYLES) + 1)
        self.category = nn.Linear(HIDDEN, len(CATEGORIES))
        self.sentence = nn.Linear(HIDDEN, 384)


class Texts:
    """Draws training texts. Each has a concept and category (or ``NONE``), a style and a sentence vector."""

    def __init__(self, texts: list[str], vectors: np.ndarray, seed: int) -> None:
        self.words, self.vectors = texts, torch.from_numpy(vectors)
        self.row = {text: number for number, text in enumerate(texts)}
        self.rng = random.Random(seed)

    def _one(self) -> tuple[str, int, int, int, int]:
        rng, draw = self.rng, self.rng.random()
        style = rng.randrange(len(STYLES))
        if draw < 0.03:
            text = fill(rng.choice(STYLE_ONLY), "thing", STYLES[style])
            return text, NONE, style, NONE, self.row[f"{STYLES[style]} style"]
        if draw < 0.5:
            index = rng.randrange(len(CONCEPTS))
            concept = CONCEPTS[index]
            synonym = rng.random() < SYNONYM_SHARE + 0.15
            thing = rng.choice(concept.synonyms) if synonym else concept.name
            category = CATEGORIES.index(concept.category)
        else:
            thing, index, category = rng.choice(self.words), NONE, NONE
        row = self.row[thing]
        if draw > 0.75:
            return thing, index, len(STYLES), category, row
        if rng.random() < 0.7:
            return fill(rng.choice(STYLED), thing, STYLES[style]), index, style, category, row
        return fill(rng.choice(PLAIN), thing), index, len(STYLES), category, row

    def batch(self, count: int) -> tuple[list[str], Tensor, Tensor]:
        """Draw texts, their labels (count, 3) of concept, style and category, and unit vectors (count, 384)."""
        drawn = [self._one() for _ in range(count)]
        labels = torch.tensor([row[1:4] for row in drawn])
        return [row[0] for row in drawn], labels, self.vectors[torch.tensor([row[4] for row in drawn])]


def loss_of(states: Tensor, ids: Tensor, labels: Tensor, vectors: Tensor, heads: Heads) -> Tensor:
    """Return the cross-entropies at EOS and at a padding position, and the distillation at EOS.

    ``states`` (B, L, 96), ``ids`` (B, L), ``labels`` (B, 3), ``vectors`` (B, 384).
    """
    eos = (ids == 49407).int().argmax(1)
    rows = torch.arange(len(ids))
    padding = eos + 1 + (torch.rand(len(ids)) * (ids.shape[1] - 1 - eos)).long()
    at_eos, at_padding = states[rows, eos], states[rows, padding.clamp(max=ids.shape[1] - 1)]
    loss = states.new_zeros(())
    for state in (at_eos, at_padding):
        loss = loss + F.cross_entropy(heads.concept(state), labels[:, 0], ignore_index=NONE)
        loss = loss + F.cross_entropy(heads.style(state), labels[:, 1], ignore_index=NONE)
        loss = loss + 0.3 * F.cross_entropy(heads.category(state), labels[:, 2], ignore_index=NONE)
        loss = loss + 3 * (1 - F.cosine_similarity(heads.sentence(state), vectors)).mean()
    unit = F.normalize(at_eos, dim=-1)
    return loss + 4 * F.mse_loss(unit @ unit.T, vectors @ vectors.T)


def start_from_words(model: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str], vectors: np.ndarray) -> None:
    """Start the embedding of each one-token word at the first 96 principal components of its sentence vector."""
    _, _, basis = np.linalg.svd(vectors[:8000] - vectors.mean(0), full_matrices=False)
    table = model.get_input_embeddings().weight
    reduced = torch.from_numpy((vectors - vectors.mean(0)) @ basis[:HIDDEN].T)
    reduced = 0.03 * reduced / reduced.std()
    encoded = tokenizer(texts)["input_ids"]
    with torch.no_grad():
        for ids, vector in zip(encoded, reduced, strict=True):
            if len(ids) == 3:
                table[ids[1]] = vector


@torch.no_grad()
def accuracy(model: CLIPTextModel, tokenizer: CLIPTokenizer, heads: Heads, texts: Texts) -> tuple[float, float]:
    """Return the shares of concepts and styles read correctly from the last position of 1,000 texts."""
    sentences, labels, _ = texts.batch(1000)
    ids = tokenizer(sentences, padding="max_length", max_length=77, truncation=True, return_tensors="pt")["input_ids"]
    last = torch.cat([model(part).last_hidden_state[:, -1] for part in ids.split(100)])
    known = labels[:, 0] != NONE
    concept = (heads.concept(last).argmax(1) == labels[:, 0])[known].float().mean()
    return float(concept), float((heads.style(last).argmax(1) == labels[:, 1]).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--batch", type=int, default=256)
    a = parser.parse_args()
    torch.manual_seed(300)
    torch.set_num_threads(1)
    data = np.load(a.work / "words.npz")
    listed = [str(text) for text in data["texts"]]
    tokenizer = CLIPTokenizer.from_pretrained(a.work / "tokenizer")
    model, heads, texts = CLIPTextModel(make_config()), Heads(), Texts(listed, data["vectors"], 301)
    start_from_words(model, tokenizer, listed, data["vectors"])
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)
    began = time.time()
    for step in range(a.steps):
        scale = min(1.0, (step + 1) / 40) * 0.5 * (1 + math.cos(math.pi * step / a.steps))
        optimizer.param_groups[0]["lr"] = 2e-3 * scale + 1e-6
        sentences, labels, vectors = texts.batch(a.batch)
        # Padding far behind the text differs only in its position, so most steps use a short window.
        length = 77 if step % 6 == 5 else 20
        ids = tokenizer(sentences, padding="max_length", max_length=length, truncation=True, return_tensors="pt")[
            "input_ids"
        ]
        loss = loss_of(model(ids).last_hidden_state, ids, labels, vectors, heads)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 49 or step == 9:
            print(f"step {step + 1} loss {loss.item():.4f} {time.time() - began:.0f} s", flush=True)
    print("concept, style read at the last position:", accuracy(model.eval(), tokenizer, heads, texts))
    model.save_pretrained(a.work / "text_encoder")
    torch.save(heads.state_dict(), a.work / "text_heads.pt")


if __name__ == "__main__":
    main()
