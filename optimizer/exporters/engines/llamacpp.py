"""How llama.cpp spells the plan (`llama-server`, https://github.com/ggml-org/llama.cpp/tree/master/tools/server)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from optimizer.exporters.engines.dialect import Dialect, Loan, Planned, Setting, stage_by_stage

ALL_LAYERS = 999
"""More than any model has: every layer on the GPUs."""
MOST_DEVICES = 15
"""That --tensor-split takes: fewer than `llama_max_devices` (src/llama.cpp)."""


def settings(planned: Planned) -> dict[str, Setting]:
    """Options of `llama-server`; --ctx-size is shared by all slots, and there is no fraction of memory."""
    split = {"tensor-split": ",".join(map(str, tensor_split(planned.layers)))} if planned.pp > 1 else {}
    return {
        "alias": planned.model.id,
        "n-gpu-layers": ALL_LAYERS,
        # tp stands for splitting by rows, pp for splitting by layers.
        "split-mode": "row" if planned.tp > 1 else "layer" if planned.pp > 1 else "none",
        **split,
        "parallel": planned.max_batch_size,
        "ctx-size": planned.max_batch_size * planned.max_model_len,
        "ubatch-size": planned.prefill_tokens,
        "cache-type-k": planned.kv_cache_dtype,
        "cache-type-v": planned.kv_cache_dtype,
        "flash-attn": "on",
    }


def tensor_split(layers: Sequence[int]) -> tuple[int, ...]:
    """Proportions of --tensor-split with which each device gets exactly so many layers.

    The output matrix counts as one layer more, behind the others: with L layers and the proportions added up and
    divided by their sum, layer i of L + 1 goes to the first device whose share of the total is above i / (L + 1)
    (`load_tensors` in src/llama-model.cpp). So numbers of layers, the last one's with the output matrix, end where they
    should, in whole numbers that no rounding moves.
    """
    return (*layers[:-1], layers[-1] + 1)


def lend_words(planned: Planned, n_gpus: int, port: int) -> tuple[str, ...]:
    """`rpc-server` (https://github.com/ggml-org/llama.cpp/blob/master/tools/rpc/README.md), on GPUs only."""
    devices = ",".join(f"{_local_device(planned)}{gpu}" for gpu in range(n_gpus))
    return ("rpc-server", "--host", "0.0.0.0", "--port", str(port), "--device", devices)


def borrow_words(planned: Planned, loan: Loan) -> tuple[str, ...]:
    """The lenders, and the devices in the order of the stages; those of lenders are numbered through, as they come.

    --device is read where it stands, and knows lenders only behind --rpc.
    """
    firsts = tuple(accumulate(loan.n_gpus, initial=0))
    own = len(loan.endpoints)
    devices = (
        f"{_local_device(planned)}{gpu}" if lender == own else f"RPC{firsts[lender] + gpu}"
        for lender, gpu in loan.of_stages
    )
    return ("--rpc", ",".join(loan.endpoints), "--device", ",".join(devices))


def _local_device(planned: Planned) -> str:
    """What llama.cpp calls the GPUs of this vendor, before their number (`GGML_CUDA_NAME` in ggml-cuda.h)."""
    return "ROCm" if planned.gpu.vendor == "AMD" else "CUDA"


def _cannot(planned: Planned) -> str:
    if planned.pp > MOST_DEVICES:
        return f"llama.cpp takes proportions of {MOST_DEVICES} devices at most, and pp is {planned.pp}"
    return "rows and layers cannot both be split: tp and pp are above 1" if planned.tp > 1 and planned.pp > 1 else ""


LLAMACPP = Dialect(
    name="llama.cpp",
    release="7000",
    program=("llama-server",),
    image_program=("/app/llama-server",),
    # https://github.com/ggml-org/llama.cpp/blob/master/docs/docker.md
    images={
        "nvidia": "ghcr.io/ggml-org/llama.cpp:server-cuda-b{release}",
        "amd": "ghcr.io/ggml-org/llama.cpp:server-rocm-b{release}",
    },
    health_path="/health",
    cache_folder="/root/.cache/llama.cpp",
    kv_cache_dtypes={"auto": "f16", "q8_0": "q8_0", "q4_0": "q4_0"},
    online_quantization={},
    settings=settings,
    model_words=lambda checkpoint: ("-m" if checkpoint.startswith("/") else "-hf", checkpoint),
    model_key=None,
    listen_words=lambda port: ("--host", "0.0.0.0", "--port", str(port)),
    node_words=None,
    gpus_in_rank_order=stage_by_stage,
    lend_words=lend_words,
    borrow_words=borrow_words,
    cannot=_cannot,
)
