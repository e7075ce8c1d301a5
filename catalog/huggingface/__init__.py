"""Hugging Face configurations as catalog entries."""

from catalog.huggingface.convert import model_from_hf_config
from catalog.huggingface.families import FAMILIES
from catalog.huggingface.quantization import checkpoint_of

__all__ = ["FAMILIES", "checkpoint_of", "model_from_hf_config"]
