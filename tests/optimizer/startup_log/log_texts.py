# lines as engines print them
"""Start-up logs in the engines' own words, with the figures of public logs."""

from __future__ import annotations

# The figures of https://github.com/llm-d-incubation/llm-d-planner/pull/205, Llama-3.3-70B in FP8 on 4 H100, v0.19.0
VLLM = """\
(APIServer pid=1) INFO 04-02 12:00:00 [utils.py:328] vLLM API server version 0.19.0
(APIServer pid=1) INFO 04-02 12:00:00 [utils.py:233] non-default args: \
{'model': 'RedHatAI/Llama-3.3-70B-Instruct-fp8-dynamic', \
'max_model_len': 8192, 'tensor_parallel_size': 4, 'gpu_memory_utilization': 0.95}
(Worker_TP1 pid=22) INFO 04-02 12:01:00 [gpu_model_runner.py:4590] Model loading took 16.9 GiB memory and 20.2 seconds
(Worker_TP0 pid=21) INFO 04-02 12:01:00 [gpu_model_runner.py:4590] Model loading took 16.96 GiB memory and 20.1 seconds
(Worker_TP0 pid=21) INFO 04-02 12:02:00 [gpu_worker.py:456] Available KV cache memory: 54.09 GiB
(Worker_TP1 pid=22) INFO 04-02 12:02:00 [gpu_worker.py:456] Available KV cache memory: 54.11 GiB
(EngineCore pid=9) INFO 04-02 12:02:00 [kv_cache_utils.py:1319] GPU KV cache size: 708,992 tokens
(EngineCore pid=9) INFO 04-02 12:02:00 [kv_cache_utils.py:1324] Maximum concurrency for 8,192 tokens per request: 86.55x
(Worker_TP0 pid=21) INFO 04-02 12:02:30 [gpu_model_runner.py:5746] Graph capturing finished in 12 secs, took 1.66 GiB
"""
# public log of vLLM 0.31 on an A100: since 0.21 the peak of activations covers what the graphs were estimated to take
VLLM_LATER = """\
(APIServer pid=1) INFO 10-06 17:00:00 [utils.py:328] vLLM API server version 0.31.0
(EngineCore pid=326) INFO 10-06 16:59:59 [core.py:112] Initializing a V1 LLM engine (v0.31.0) with config: \
model='meta-llama/Llama-3.1-8B-Instruct', dtype=torch.bfloat16, max_seq_len=131072
(EngineCore pid=326) INFO 10-06 17:00:11 [model_runner.py:407] Model loading took 15.0 GiB memory and 5.42 seconds
(EngineCore pid=326) INFO 10-06 17:00:33 [gpu_worker.py:692] Available KV cache memory: 56.21 GiB
(EngineCore pid=326) INFO 10-06 17:00:33 [kv_cache_utils.py:2464] GPU KV cache size: 460,496 tokens, Maximum \
concurrency for 131,072 tokens per request: 3.51x
(EngineCore pid=326) INFO 10-06 17:00:41 [gpu_worker.py:955] Free memory on device (78.84/79.25 GiB) on startup. \
Desired GPU memory utilization is (0.92, 72.91 GiB). Actual usage is 15.26 GiB for consumed memory (weights + \
non-torch), 1.44 GiB for peak activation, and 0.23 GiB for CUDAGraph memory.
"""
# public log of vLLM 0.7 on a T4
V0 = """\
INFO 02-10 11:00:00 worker.py:267] the current vLLM instance can use total_gpu_memory (14.56GiB) x \
gpu_memory_utilization (0.50) = 7.28GiB
INFO 02-10 11:00:00 worker.py:267] model weights take 2.89GiB; non_torch_memory takes 0.01GiB; PyTorch activation peak \
memory takes 2.02GiB; the rest of the memory reserved for KV Cache is 2.36GiB.
INFO 02-10 11:00:00 executor_base.py:111] # cuda blocks: 5519, # CPU blocks: 9362
INFO 02-10 11:00:00 executor_base.py:116] Maximum concurrency for 32768 tokens per request: 2.69x
"""
# public log of SGLang 0.4.3 on 4 L4
SGLANG = """\
[2025-03-07 10:00:00] server_args=ServerArgs(model_path='Qwen/QwQ-32B', tp_size=4, \
mem_fraction_static=0.85, quantization=None)
[2025-03-07 10:01:00 TP2] Load weight end. type=Qwen2ForCausalLM, dtype=torch.bfloat16, \
avail mem=6.12 GB, mem usage=15.54 GB.
[2025-03-07 10:01:00 TP0] KV Cache is allocated. #tokens: 46611, K size: 1.42 GB, V size: 1.42 GB
[2025-03-07 10:01:00 TP3] KV Cache is allocated. #tokens: 46611, K size: 1.42 GB, V size: 1.42 GB
"""
# public log of llama.cpp, Phi-3-mini-4k in Q4_K_M
LLAMACPP = """\
  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes
llama_model_loader: - kv   2:                       general.name str              = Phi 3 Mini 4k Instruct
print_info: file type   = Q4_K - Medium
load_tensors:        CUDA0 model buffer size =  2228.82 MiB
load_tensors:   CPU_Mapped model buffer size =    52.84 MiB
llama_context: n_ctx         = 4096
llama_context: n_ubatch      = 256
llama_kv_cache:      CUDA0 KV buffer size =  1536.00 MiB
llama_kv_cache: size = 1536.00 MiB (  4096 cells,  32 layers,  1/1 seqs), K (f16):  768.00 MiB, V (f16):  768.00 MiB
llama_context:      CUDA0 compute buffer size =   150.00 MiB
"""
# lines of tensorrt_llm/_torch/pyexecutor/_util.py and of the runtime, with the pool of a public log on an H100
TRTLLM = """\
[TensorRT-LLM] TensorRT-LLM version: 1.0.0
[08/01/2025-10:00:00] [TRT-LLM] [I] LLM Args: model='Qwen/Qwen3-0.6B' tensor_parallel_size=1 dtype='auto' \
kv_cache_config=KvCacheConfig(free_gpu_memory_fraction=0.9)
[08/01/2025-10:01:00] [TRT-LLM] [RANK 0] [I] Memory used after loading model weights (inside torch) in memory usage \
profiling: 1.14 GiB
[08/01/2025-10:01:00] [TRT-LLM] [RANK 0] [I] Peak memory during memory usage profiling (torch + non-torch): 2.87 GiB, \
available KV cache memory when calculating max tokens: 68.69 GiB, fraction is set 0.9, kv size is 114688. device total \
memory 79.19 GiB, , tmp kv_mem 0.88 GiB
[TensorRT-LLM][INFO] [MemUsageChange] Allocated 68.69 GiB for max tokens in paged KV cache (643136).
[08/01/2025-10:01:00] [TRT-LLM] [I] max_seq_len=40960, max_num_requests=2048, max_num_tokens=8192, max_batch_size=2048
"""
# public log of llama.cpp, gpt-oss-20b on a Mac: cells of the windows beside those of all tokens
LLAMACPP_SWA = """\
print_info: file type   = MXFP4 MoE
print_info: general.name          = Gpt-Oss-20B
llama_context: n_seq_max     = 1
llama_context: n_ctx         = 131072
llama_context: n_ctx_seq     = 131072
llama_context: n_ubatch      = 2048
llama_kv_cache_iswa: creating non-SWA KV cache, size = 131072 cells
llama_kv_cache:      Metal KV buffer size =  3072.00 MiB
llama_kv_cache: size = 3072.00 MiB (131072 cells,  12 layers,  1/1 seqs), K (f16): 1536.00 MiB, V (f16): 1536.00 MiB
llama_kv_cache_iswa: creating     SWA KV cache, size = 2304 cells
llama_kv_cache:      Metal KV buffer size =    54.00 MiB
"""
# public log of llama.cpp in 2024, Llama-3-70B on two cards with three layers left in host memory
LLAMACPP_TWO = """\
  Device 0: NVIDIA GeForce RTX 4060 Ti, compute capability 8.9, VMM: yes
  Device 1: NVIDIA GeForce RTX 3060, compute capability 8.6, VMM: yes
llm_load_print_meta: model ftype      = Q4_K - Medium
llm_load_print_meta: general.name     = Meta-Llama-3-70B-Instruct
llm_load_tensors: offloaded 78/81 layers to GPU
llm_load_tensors:        CPU buffer size = 22994.45 MiB
llm_load_tensors:      CUDA0 buffer size = 12633.25 MiB
llm_load_tensors:      CUDA1 buffer size =  8652.00 MiB
llama_new_context_with_model: n_ctx      = 8192
llama_kv_cache_init:      CUDA0 KV buffer size =  1472.00 MiB
llama_kv_cache_init:      CUDA1 KV buffer size =  1024.00 MiB
"""
# public log of llama.cpp, Llama-3.2-1B on an A10: ten slots, each with a tenth of the context
LLAMACPP_SLOTS = """\
  Device 0: NVIDIA A10, compute capability 8.6, VMM: yes, VRAM: 22731 MiB
llama_model_loader: loaded meta data with 31 key-value pairs and 147 tensors from \
/workspace/models/Llama-3.2-1B-Instruct-Q4_K_M.gguf (version GGUF V3 (latest))
print_info: file type   = Q4_K - Medium
load_tensors: offloaded 17/17 layers to GPU
load_tensors:        CUDA0 model buffer size =   762.81 MiB
llama_context: n_seq_max     = 10
llama_context: n_ctx         = 133120
llama_context: n_ctx_seq     = 13312
llama_context: n_ubatch      = 512
sched_reserve:      CUDA0 compute buffer size =   258.48 MiB
"""
# public log of llama.cpp without layers on a card
LLAMACPP_CPU = """\
print_info: general.name     = Gemma 3 1b It
load_tensors:   CPU_Mapped model buffer size =   762.49 MiB
llama_kv_cache:        CPU KV buffer size =   416.00 MiB
"""
