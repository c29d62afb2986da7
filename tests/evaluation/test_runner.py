import json
import logging

import pytest
import torch
from detectron2.data import MetadataCatalog

from physseg.evaluation import extra_metrics
from physseg.evaluation.image_counts import ImageLog
from physseg.evaluation.runner import run_benchmarks


def numbers(results):
    return [(r["metrics"], r["iou"]) for r in results]


def test_all_benchmarks_in_one_process(model, cfg, benchmarks, tmp_path):
    results = run_benchmarks(model, cfg, benchmarks, tmp_path / "out")
    assert [r["key"] for r in results] == benchmarks
    assert len(model.seen) == 10
    folded = results[1]
    assert folded["classes"][2] == "background"
    assert folded["protocol"]["dataset"]["prompts"] == 4
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == sorted(f"{name}{suffix}" for name in benchmarks for suffix in (".json", ".images.jsonl"))
    json.loads((tmp_path / "out" / f"{benchmarks[0]}.json").read_text(), parse_constant=pytest.fail)


def test_the_record_says_how_the_number_came_about(model, cfg, benchmarks, tmp_path):
    cfg.TEST.SLIDING_WINDOW = True
    record = run_benchmarks(model, cfg, benchmarks[:1], tmp_path)[0]
    protocol = record["protocol"]
    assert protocol["clip"] == {"name": cfg.MODEL.CLIP.NAME, "pretrained": cfg.MODEL.CLIP.PRETRAINED}
    assert protocol["inference"].startswith("sliding window and whole image (window 384, stride 256, canvas square 640")
    assert protocol["templates"] == ["A photo of a {} in the scene"]
    assert protocol["dataset"]["images"] == 5
    assert len(protocol["parameters_sha256"]) == 64
    assert "SLIDING_WINDOW: true" in protocol["config"]
    assert {"detectron2", "torch"} <= protocol["versions"].keys()
    assert record["peak_memory"]["host_mib"] > 0
    assert record["timing"]["shares"].keys() == {"model", "resize", "metric", "io", "other"}
    assert sum(record["timing"]["shares"].values()) == pytest.approx(1.0)
    # "grass, lawn" is seen by name; the folded background of PAS-20b belongs to neither group.
    assert record["seen_unseen"]["by_name"]["flags"] == [False, True, False]


def test_patch_accuracy_is_counted_on_every_image(model, cfg, benchmarks, tmp_path, monkeypatch):
    """Also on those that an interrupted run had segmented; what is no number is null in the file."""
    seen = []

    def count(model, loader, name, training_classes):
        seen.append([x["file_name"] for batch in loader for x in batch])
        return {"patch_accuracy": 50.0, "patch_accuracy_unseen": float("nan")}

    monkeypatch.setattr(extra_metrics, "evaluate_patch_names", count)
    cfg.TEST.PATCH_ACCURACY = True
    model.fail_after = 3
    with pytest.raises(KeyboardInterrupt):
        run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    model.fail_after = None
    (record,) = run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    assert [len(set(names)) for names in seen] == [5]
    assert (record["metrics"]["patch_accuracy"], record["metrics"]["patch_accuracy_unseen"]) == (50.0, None)


def test_batch_size_changes_no_number(model, cfg, benchmarks, tmp_path):
    one = run_benchmarks(model, cfg, benchmarks, tmp_path / "one")
    cfg.TEST.BATCH_SIZE = 3
    three = run_benchmarks(model, cfg, benchmarks, tmp_path / "three")
    assert numbers(one) == numbers(three)


def test_an_interrupted_run_goes_on_at_the_next_image(model, cfg, benchmarks, tmp_path, caplog):
    whole = run_benchmarks(model, cfg, benchmarks, tmp_path / "whole")
    model.seen, model.fail_after = [], 7
    with pytest.raises(KeyboardInterrupt):
        run_benchmarks(model, cfg, benchmarks, tmp_path / "out")
    model.fail_after = None
    with caplog.at_level(logging.INFO):
        results = run_benchmarks(model, cfg, benchmarks, tmp_path / "out")
    assert len(model.seen) == 10
    assert numbers(results) == numbers(whole)
    assert f"{benchmarks[0]} is done already" in caplog.text
    assert f"{benchmarks[1]}: taking up after 2 of 5 images" in caplog.text


def test_interrupted_after_the_last_image(model, cfg, benchmarks, tmp_path):
    whole = run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    # Turn the finished benchmark back into one whose processes had counted everything but not summed up.
    finished = tmp_path / f"{benchmarks[0]}.images.jsonl"
    (tmp_path / f"{benchmarks[0]}.json").unlink()
    entries = ImageLog(finished, whole[0]["fingerprint"]).read()
    for rank, share in enumerate((entries[:3], entries[3:])):
        log = ImageLog(tmp_path / f"{benchmarks[0]}.rank{rank}.jsonl", whole[0]["fingerprint"])
        for entry in share:
            log.append(entry)
        log.close()
    model.seen = []
    assert numbers(run_benchmarks(model, cfg, benchmarks[:1], tmp_path)) == numbers(whole)
    assert model.seen == []


def test_other_weights_start_over_and_say_so(model, cfg, benchmarks, tmp_path, caplog):
    first = run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    with torch.no_grad():
        model.shift += 1
    second = run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    assert numbers(first) != numbers(second)
    assert "is of another run (weights changed): starting over" in caplog.text


def test_progress_of_other_weights_is_not_taken_up(model, cfg, benchmarks, tmp_path, caplog):
    model.fail_after = 3
    with pytest.raises(KeyboardInterrupt):
        run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    model.fail_after, model.seen = None, []
    with torch.no_grad():
        model.shift += 1
    run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    assert len(model.seen) == 5
    assert "is of another run or empty: starting over" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "changes"),
    [("TEST.SLIDING_WINDOW", True, 5), ("OUTPUT_DIR", "x", 0), ("TEST.BEST_METRIC", "mean_fwIoU", 0)],
)
def test_only_what_decides_the_result_starts_over(model, cfg, benchmarks, tmp_path, key, value, changes):
    run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    model.seen = []
    cfg.merge_from_list([key, value])
    run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    assert len(model.seen) == changes


def test_another_vocabulary_starts_over(model, cfg, benchmarks, tmp_path, caplog):
    run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    metadata = MetadataCatalog.get(benchmarks[0])
    del metadata.vocabulary
    metadata.vocabulary = ["sky", "lawn", "cow"]
    run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    assert "vocabulary changed" in caplog.text


def test_a_callable_without_weights_never_shares_work(model, cfg, benchmarks, tmp_path):
    for expected in (5, 10):
        run_benchmarks(model.forward, cfg, benchmarks[:1], tmp_path)
        assert len(model.seen) == expected


def test_a_loader_that_loses_images_is_an_error(model, cfg, benchmarks, tmp_path):
    def lossy(cfg, name, **options):
        from physseg.data.loaders import build_test_loader

        return list(build_test_loader(cfg, name, **options))[1:]

    with pytest.raises(RuntimeError, match=r"1 of 5 images were not evaluated, .*img_0\.jpg among them"):
        run_benchmarks(model, cfg, benchmarks[:1], tmp_path, build_loader=lossy)


def test_missing_data_comes_to_light_before_anything_is_evaluated(model, cfg, benchmarks, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="ade20k_150_test_sem_seg"):
        run_benchmarks(model, cfg, [*benchmarks, "ade20k_150_test_sem_seg"], tmp_path / "out")
    assert model.seen == []


def test_boundary_iou_by_key(model, cfg, benchmarks, tmp_path):
    cfg.TEST.BOUNDARY_IOU = True
    record = run_benchmarks(model, cfg, benchmarks[:1], tmp_path)[0]
    assert len(record["boundary_iou"]) == 3
    assert record["metrics"]["boundary_IoU"] > 0
