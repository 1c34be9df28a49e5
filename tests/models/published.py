"""The config.json of the published sizes, in the hub's layout, with what is known of each."""

_SIZES = {
    # hidden, layers, heads, kv heads, MLP, vocabulary, tied, vision MLP
    "3B": (2048, 36, 16, 2, 11008, 151936, True, 3420),
    "7B": (3584, 28, 28, 4, 18944, 152064, False, 3420),
    "32B": (5120, 64, 40, 8, 27648, 152064, False, 3456),
    "72B": (8192, 80, 64, 8, 29568, 152064, False, 3456),
}

# Parameters of the published checkpoints.
PARAMETERS = {"3B": 3_754_622_976, "7B": 8_292_166_656, "32B": 33_452_718_336}
# Tensors that their files hold.
TENSORS = {"3B": 824, "7B": 729, "32B": 1161, "72B": 1353}


def published_config(size: str) -> dict:
    hidden, layers, heads, kv_heads, mlp, vocab, tied, vision_mlp = _SIZES[size]
    return {
        "model_type": "qwen2_5_vl",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": mlp,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "use_sliding_window": False,
        "sliding_window": 32768,
        "max_position_embeddings": 128000,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "torch_dtype": "bfloat16",
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": vision_mlp,
            "num_heads": 16,
            "out_hidden_size": hidden,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "in_chans": 3,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "hidden_act": "silu",
            "tokens_per_second": 2,
        },
    }


_QWEN3_SIZES = {
    # hidden, layers, heads, MLP, tied, vision depth, width, MLP, DeepStack's blocks
    "2B": (2048, 28, 16, 6144, True, 24, 1024, 4096, [5, 11, 17]),
    "4B": (2560, 36, 32, 9728, True, 24, 1024, 4096, [5, 11, 17]),
    "8B": (4096, 36, 32, 12288, False, 27, 1152, 4304, [8, 16, 24]),
    "32B": (5120, 64, 64, 25600, False, 27, 1152, 4304, [8, 16, 24]),
}

QWEN3_PARAMETERS = {
    "2B": 2_127_532_032,
    "4B": 4_437_815_808,
    "8B": 8_767_123_696,
    "32B": 33_357_390_064,
}
QWEN3_TENSORS = {"2B": 625, "4B": 713, "8B": 750, "32B": 1058}


def published_qwen3(size: str) -> dict:
    """The same of Qwen3-VL, whose layout is nested."""
    hidden, layers, heads, mlp, tied, depth, width, vision_mlp, blocks = _QWEN3_SIZES[size]
    text = {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "dtype": "bfloat16",
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": mlp,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [24, 20, 20],
            "rope_type": "default",
        },
        "rope_theta": 5000000,
        "use_cache": True,
        "vocab_size": 151936,
    }
    if tied:
        text["tie_word_embeddings"] = True
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "image_token_id": 151655,
        "model_type": "qwen3_vl",
        "text_config": text,
        "tie_word_embeddings": tied,
        "video_token_id": 151656,
        "vision_config": {
            "deepstack_visual_indexes": blocks,
            "depth": depth,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": width,
            "in_channels": 3,
            "initializer_range": 0.02,
            "intermediate_size": vision_mlp,
            "model_type": "qwen3_vl",
            "num_heads": 16,
            "num_position_embeddings": 2304,
            "out_hidden_size": hidden,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        "vision_end_token_id": 151653,
        "vision_start_token_id": 151652,
    }
