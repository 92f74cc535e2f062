"""From a directory, a configuration or Python, and one line for everything that can be wrong with them."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers as hf
from hf_networks import CLASSES, saved_model, tiny_config, tiny_model
from safetensors.torch import load_file, save_file

from anomseg.data.label_space import label_space
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError, DataError
from anomseg.segmenters import load_segmenter, make_scene, save_segmenter


def _image(size=(50, 77)):
    return [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)]


def _copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def _refused(kind, what, match, **options):
    with pytest.raises(kind, match=match) as caught:
        load_segmenter(what, **options)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, AnomsegError)


@pytest.mark.parametrize("family", ["segformer", "mask2former"])
def test_a_directory_of_transformers(family, request):
    folder = request.getfixturevalue(f"saved_{family}")
    segmenter = load_segmenter(f"hf:{folder};size=[64,96]")
    assert segmenter.size == (64, 96)
    assert segmenter.title == family
    assert not segmenter.random_weights
    own = load_segmenter(tiny_model(family), size=(64, 96))
    image = _image()
    for row in ("logits", "class_logits"):
        got, expected = (getattr(make_scene(image, ["a"], which).output, row) for which in (segmenter, own))
        assert (got is None) == (expected is None)
        assert got is None or torch.equal(got, expected)


def test_another_process_builds_the_same(saved_mask2former, tmp_path):
    segmenter = load_segmenter(f"hf:{saved_mask2former}")
    save_segmenter(segmenter, tmp_path / "ours")
    code = (
        "from anomseg.segmenters import load_segmenter as l\n"
        f"print(l({str(tmp_path / 'ours')!r}).fingerprint(), l({f'hf:{saved_mask2former}'!r}).fingerprint())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [segmenter.fingerprint()] * 2
    assert told.stderr == ""  # the library's bars and warnings stay still


def test_half_precision_weights_are_read_as_float32(tmp_path):
    tiny_model("segformer").half().save_pretrained(tmp_path)
    segmenter = load_segmenter(f"hf:{tmp_path}")
    assert {parameter.dtype for parameter in segmenter.parameters()} == {torch.float32}


def test_sharded_weights(tmp_path, saved_segformer):
    tiny_model("segformer").save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert load_segmenter(f"hf:{tmp_path}").fingerprint() == load_segmenter(f"hf:{saved_segformer}").fingerprint()


def test_a_configuration_needs_the_word(tmp_path):
    path = tmp_path / "config.json"
    tiny_config("upernet-convnext").to_json_file(path)
    _refused(ConfigError, f"hf:{path}", "random_weights=true")
    segmenter = load_segmenter(f"hf:{path};random_weights=true")
    assert segmenter.identity()["random_weights"] is True
    assert segmenter.identity()["backbone"] == "convnext"
    assert make_scene(_image(), ["a"], segmenter).logits().shape == (1, 5, 50, 77)
    _refused(ConfigError, tiny_config("segformer"), "random_weights=true")
    assert load_segmenter(tiny_config("segformer"), random_weights=True).classes == CLASSES


def test_a_directory_without_weights(saved_segformer, tmp_path):
    folder = _copy(saved_segformer, tmp_path)
    weights = folder / "model.safetensors"
    state = load_file(weights)
    weights.unlink()
    _refused(DataError, f"hf:{folder}", "random_weights=true")
    assert load_segmenter(f"hf:{folder};random_weights=true").random_weights
    torch.save(state, folder / "pytorch_model.bin")
    _refused(DataError, f"hf:{folder}", r"pytorch_model\.bin, which is not unpickled.*save_pretrained")


def test_damaged_weights(saved_segformer, tmp_path):
    folder = _copy(saved_segformer, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    _refused(DataError, f"hf:{folder}", "cannot be read")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state.pop("decode_head.classifier.weight"), r"missing decode_head\.classifier\.weight"),
        (lambda state: state.update({"decode_head.more": torch.ones(1)}), r"unexpected decode_head\.more"),
        (lambda state: state.update({"decode_head.classifier.bias": torch.ones(7)}), r"classifier\.bias is \(7,\)"),
    ],
)
def test_weights_of_another_network(saved_segformer, tmp_path, change, match):
    folder = _copy(saved_segformer, tmp_path)
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    _refused(CompatibilityError, f"hf:{folder}", match)


def test_weights_that_no_output_depends_on_may_be_left_over(saved_segformer, tmp_path):
    folder = _copy(saved_segformer, tmp_path)
    state = load_file(folder / "model.safetensors")
    state["segformer.pooler.weight"] = torch.ones(2)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_segmenter(f"hf:{folder}").fingerprint() == load_segmenter(f"hf:{saved_segformer}").fingerprint()


def test_other_architectures(tmp_path):
    hf.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path / "bert")
    _refused(CompatibilityError, f"hf:{tmp_path / 'bert'}", "'bert'.*segformer, .*mask2former.*features alone.*dinov2")
    config = tiny_config("segformer")
    hf.SegformerForImageClassification(config).save_pretrained(tmp_path / "classifier")
    _refused(CompatibilityError, f"hf:{tmp_path / 'classifier'}", "without the segmentation head")
    _refused(CompatibilityError, hf.SegformerForImageClassification(config), "SegformerForImageClassification")
    hf.DPTForDepthEstimation(tiny_config("dpt")).save_pretrained(tmp_path / "depth")
    _refused(CompatibilityError, f"hf:{tmp_path / 'depth'}", "saved as DPTForSemanticSegmentation")


def test_directories_and_files_of_other_kinds(saved_segformer, tmp_path):
    _refused(DataError, f"hf:{tmp_path}", r"has no config\.json")
    _refused(DataError, f"hf:{tmp_path}/no/such/folder", "there is no directory")
    _refused(DataError, "hf:runs/of/mine", "there is no directory")
    _refused(DataError, "hf:./mine", "there is no directory")
    _refused(ConfigError, f"hf:{saved_segformer}/model.safetensors", "give the directory")
    _refused(ConfigError, "hf", "hf:DIR")
    _refused(ConfigError, str(saved_segformer), "for a transformers model write hf:")
    save_segmenter(load_segmenter("bundled"), tmp_path / "ours")
    _refused(DataError, f"hf:{tmp_path / 'ours'}", "without 'hf:'")
    (tmp_path / "config.json").write_text("{")
    _refused(DataError, f"hf:{tmp_path}", "config.json")
    (tmp_path / "config.json").write_text('{"a": 1}')
    _refused(DataError, f"hf:{tmp_path}", "model_type")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "segformer", "depths": "deep"}))
    _refused(AnomsegError, f"hf:{tmp_path / 'config.json'};random_weights=true", "cannot be")


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("sise=[64,96]", "did you mean 'size'"),
        ("size=large", "size"),
        ("mean=[0,0]", "three numbers"),
        ("std=[0,1,1]", "larger than 0"),
        ("shortest_edge=-1", "shortest_edge"),
        ("classes=[a,b]", "5 classes, and 2 names"),
        ("classes=citiscapes", "did you mean 'cityscapes'"),
        ("negative=car", "mask heads"),
    ],
)
def test_options_that_cannot_be(saved_segformer, option, match):
    _refused(ConfigError, f"hf:{saved_segformer};{option}", match)


def test_an_unknown_negative_class(saved_mask2former):
    _refused(ConfigError, f"hf:{saved_mask2former};negative=cra", "did you mean 'car'")
    assert load_segmenter(f"hf:{saved_mask2former};negative=car").classes == ("road", "sky", "tree", "sign")


def test_a_configuration_runs_and_fetches_nothing(saved_segformer, tmp_path):
    folder = _copy(saved_segformer, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSemanticSegmentation": "evil--repo.Model"}
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    config["_attn_implementation"] = "someone/kernels"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')")
    assert load_segmenter(f"hf:{folder}").fingerprint() == load_segmenter(f"hf:{saved_segformer}").fingerprint()
    upernet = json.loads(tiny_config("upernet-swin").to_json_string(use_diff=False))
    upernet["backbone_config"] = {"model_type": "timm_backbone", "backbone": "hf-hub:someone/network"}
    (tmp_path / "config.json").write_text(json.dumps(upernet))
    _refused(CompatibilityError, f"hf:{tmp_path / 'config.json'};random_weights=true", "from elsewhere")


def test_cityscapes_names_bring_their_colours():
    cityscapes = label_space("cityscapes")
    names = cityscapes.names[::-1]
    segmenter = load_segmenter(tiny_model("segformer", names))
    assert segmenter.palette == cityscapes.palette[::-1]
    unnamed = load_segmenter(tiny_model("segformer", [f"LABEL_{index}" for index in range(19)]), classes="cityscapes")
    assert (unnamed.classes, unnamed.palette) == (cityscapes.names, cityscapes.palette)


def test_class_names_that_repeat_are_told_apart():
    segmenter = load_segmenter(tiny_model("segformer", ("screen", "car", "screen", "screen")))
    assert segmenter.classes == ("screen", "car", "screen (2)", "screen (3)")


def test_a_backbone_is_taken_for_its_features(tmp_path):
    config = hf.Dinov2Config(image_size=56, patch_size=14, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    hf.Dinov2Model(config).save_pretrained(tmp_path)
    segmenter = load_segmenter(f"hf:{tmp_path}")
    assert segmenter.classes == ()
    assert "logits" not in segmenter.provides
    assert segmenter.title == tmp_path.name
    _refused(ConfigError, f"hf:{tmp_path};negative=car", "features alone")
    save_segmenter(segmenter, tmp_path / "ours")
    assert load_segmenter(tmp_path / "ours").fingerprint() == segmenter.fingerprint()


def test_nothing_heavy_is_imported_to_list_or_to_refuse():
    code = (
        "import sys\n"
        "from anomseg.registry import SEGMENTERS\n"
        "from anomseg.segmenters import load_segmenter\n"
        "assert 'hf' in SEGMENTERS and SEGMENTERS.get('hf').factory\n"
        "load_segmenter('bundled')\n"
        "assert 'transformers' not in sys.modules and 'huggingface_hub' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_tokenizer_of_the_directory_is_used(tmp_path):
    saved_model(tmp_path, "oneformer")
    pieces = ["the</w>", "task</w>", "is</w>", "semantic</w>"]
    letters = sorted(set("thetaskissemantic"))
    merges = [
        (word[:end], word[end:-4][0] + ("</w>" if end + 5 == len(word) else ""))
        for word in pieces
        for end in range(1, len(word) - 4)
    ]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary += [left + right for left, right in merges]
    vocabulary = list(dict.fromkeys(vocabulary))
    (tmp_path / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (tmp_path / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in dict.fromkeys(merges))
    )
    segmenter = load_segmenter(f"hf:{tmp_path}")
    words = [vocabulary.index(piece) for piece in pieces]
    assert segmenter.task_tokens == (0, *words, 1, *[0] * 71)
    (tmp_path / "vocab.json").write_text("{")
    _refused(DataError, f"hf:{tmp_path}", "tokenizer")
