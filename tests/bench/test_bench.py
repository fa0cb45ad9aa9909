"""`streamer bench`: both ways on the same frames, in the format that other programs read."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from streamer.bench import machine_limits
from streamer.bench.bench_report import plot, print_table
from streamer.bench.plan import Report, Result
from streamer.cli.command_line import main

RESULT_KEYS = {
    *(
        "way",
        "engine",
        "precision",
        "cameras",
        "windows_per_s",
        "ratio",
        "preprocess_ms",
        "model_ms",
        "p95_ms",
    ),
    *("top1_agreement", "score_error", "peak_fraction", "memory_mb"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from streamer.bench.inputs import make_random

    folder = tmp_path_factory.mktemp("tiny")
    make_random(
        folder,
        image_size=32,
        patch_size=8,
        num_frames=3,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import av
    import numpy as np

    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(25):
            picture = rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.training
def test_json_compares_both_ways_on_the_same_frames(
    tiny: Path, video: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the machine's own peak is measured between all rounds: with small products it is as real and much sooner
    monkeypatch.setattr(machine_limits, "ROWS", 64)
    drawing = tmp_path / "out.svg"
    words = ["bench", "--model", str(tiny), "--clip", str(video), "--device", "cpu", "--engines", "torch"]
    words += ["--precisions", "fp32", "--rounds", "3", "--cameras", "1,2", "--size", "160x120"]
    assert main([*words, "--json", "--plot", str(drawing)]) == 0
    report = json.loads(capsys.readouterr().out)
    theirs, ours = [
        next(r for r in report["results"] if r["way"] == way) for way in ("transformers", "streamer")
    ]
    for result in report["results"]:
        assert not RESULT_KEYS - set(result)
    assert (theirs["ratio"], theirs["score_error"], theirs["top1_agreement"]) == (1.0, 0.0, 1.0)
    assert ours["engine"] == "torch"
    assert 0 < ours["score_error"] < 0.05  # another resize within a grey level, the same weights and frames
    assert ours["ratio"] > 0
    # medians of rounds: that of the sum is never below that of a part, on a machine however busy
    assert 1e3 / ours["windows_per_s"] >= max(ours["preprocess_ms"], ours["model_ms"]) * 0.999 > 0
    assert 0 < ours["peak_fraction"] < 1.5
    assert report["machine"]["gemm_gflops"]["fp32"] > 0
    assert report["machine"]["processor"]
    step = next(r for r in report["results"] if r["way"] == "streaming")
    assert (step["engine"], step["precision"], step["score_error"]) == ("torch", "fp32", None)
    assert step["model_ms"] > 0
    assert any("cache of a camera" in note for note in report["notes"])
    assert 0 < report["model"]["gflop_streamer"] < report["model"]["gflop_transformers"]
    ElementTree.fromstring(drawing.read_text())  # well-formed


def test_the_stronger_baseline_gives_the_same_answer() -> None:
    import torch
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    from streamer.bench.stronger_baselines import with_sdpa

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = TimesformerConfig(image_size=32, patch_size=8, num_frames=3, **sizes)
    model = TimesformerForVideoClassification(config).eval()
    changed, pixels = with_sdpa(model), torch.randn(1, 3, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(changed(pixels).logits, model(pixels).logits, atol=1e-5)
    assert next(changed.parameters()) is next(model.parameters())
    attention = "timesformer.encoder.layer.0.attention.attention"
    assert "forward" in vars(changed.get_submodule(attention))
    assert "forward" not in vars(model.get_submodule(attention))


def test_flops_are_counted_from_the_shapes() -> None:
    """The published 8 x 224 base model: 196 GMAC (TimeSformer paper, table 2), 17 d² a token and layer."""
    import torch
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    from streamer.bench.machine_limits import count_flops
    from streamer.recognition.engines.tuning import LogitsOnly
    from streamer.recognition.families.timesformer import FusedTimesformer

    with torch.device("meta"):
        model = TimesformerForVideoClassification(TimesformerConfig(num_labels=400)).eval()
    shape = (1, 8, 3, 224, 224)
    theirs, ours = count_flops(LogitsOnly(model), shape), count_flops(FusedTimesformer(model), shape)
    assert theirs == pytest.approx(2 * 196, rel=0.04)
    assert ours == pytest.approx(theirs * (11 * 16 + 4) / (12 * 17), rel=0.01)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "at least 1"),
        (["--cameras", "one"], "1,2,4"),
        (["--cameras", "0"], "1 to 256"),
        (["--size", "1280"], "1280x720"),
        (["--engines", "tensorrt"], "tensorrt is none of torch, openvino"),
        (["--precisions", "int4"], "int4 is none of"),
        (["--clip", "/no/such.mp4"], "no such file"),
    ],
)
def test_wrong_options_are_one_line(words: list[str], message: str, capsys) -> None:
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path, capsys) -> None:
    assert main(["bench", "--model", str(tmp_path)]) == 4
    assert capsys.readouterr().err.startswith("streamer: ")


def report_of(*results: Result) -> Report:
    machine = {"processor": "A & B <fast>", "threads": 2, "gemm_gflops": {"fp32": 200.0}}
    model = {"name": "model <1>", "gflop_transformers": 392.0, "gflop_streamer": 346.0}
    return Report(machine, model, results, ("openvino int8 left out: not installed",))


def result(way: str, cameras: int, rate: float) -> Result:
    return Result(
        way, "torch", "fp32", cameras, rate, 2.4, 0.1, 2.5, 800.0, 810.0, 950.0, 1.0, 1e-6, 0.88, None
    )


def test_the_table_says_it_all(capsys) -> None:
    print_table(report_of(result("transformers", 1, 0.3), result("streamer", 1, 1.2)))
    text = capsys.readouterr().out
    for word in ("A & B <fast>", "streamer", "2.40 ±0.10", "100.0%", "88%", "fp32 200", "left out", "392.0"):
        assert word in text


def test_in_a_pipe_no_row_is_broken_however_long_a_name(capsys) -> None:
    print_table(report_of(result("transformers", 1, 0.3), result("streamer " + "x" * 300, 1, 1.2)))
    rows = [line for line in capsys.readouterr().out.splitlines() if "2.40 ±0.10" in line]
    assert len(rows) == 2
    assert all(line.split()[-2:] == ["88%", "-"] for line in rows)


def test_the_plot_of_one_number_of_cameras_has_a_bar_for_each_way() -> None:
    svg = plot(report_of(result("transformers <eager>", 4, 1.0), result("streamer", 4, 3.0)))
    tree = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    slow, fast = (float(bar.get("width", 0)) for bar in list(tree.iter(name + "rect"))[1:])
    assert fast == pytest.approx(3 * slow, rel=0.01)
    texts = [text.text or "" for text in tree.iter(name + "text")]
    assert any(text.startswith("transformers <eager>") for text in texts)
    assert not list(tree.iter(name + "polyline"))


def test_the_plot_has_a_line_for_each_way_and_rises_with_speed() -> None:
    svg = plot(
        report_of(
            *(
                result(way, n, rate * n)
                for way, rate in (("transformers", 1), ("streamer", 3))
                for n in (1, 2)
            )
        )
    )
    tree = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    lines = [
        [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
        for line in tree.iter(name + "polyline")
    ]
    assert len(lines) == 2
    (slow, slow_2), (fast, fast_2) = lines
    assert fast[1] < slow[1]  # higher on the page
    assert fast_2[0] > fast[0]
    assert slow_2[1] < slow[1]
    assert "model <1>: windows per second" in [text.text for text in tree.iter(name + "text")]
