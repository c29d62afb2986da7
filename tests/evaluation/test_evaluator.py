import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image

from physseg.config import load_config
from physseg.evaluation import SegmentationEvaluator, Timing, evaluate_dataset
from physseg.evaluation.evaluator import regions_from_config

NAMES = ["sky", "grass", "cow"]


@pytest.fixture
def dataset(tmp_path):
    """Seven images of different sizes: label files by image name, and predictions of three classes."""
    rng = np.random.default_rng(0)
    label_files, predictions = {}, {}
    for i in range(7):
        shape = (10 + i, 12 + 2 * i)
        labels = rng.integers(0, 3, shape).astype(np.uint8)
        labels[rng.random(shape) < 0.2] = 255
        path = tmp_path / f"{i}.png"
        Image.fromarray(labels).save(path)
        label_files[f"{i}.jpg"] = str(path)
        noise = rng.integers(0, 3, shape)
        predictions[f"{i}.jpg"] = torch.from_numpy(np.where(rng.random(shape) < 0.5, noise, labels % 3).astype(int))
    return label_files, predictions


def fake_model(predictions, key="labels"):
    def scores(labels):
        return torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float()

    def call(inputs):
        return [
            {key: predictions[x["file_name"]] if key == "labels" else scores(predictions[x["file_name"]])}
            for x in inputs
        ]

    return call


def batches(names, size=1):
    names = list(names)
    return [[{"file_name": name} for name in names[i : i + size]] for i in range(0, len(names), size)]


def evaluate(dataset, size=1, key="labels", **options):
    label_files, predictions = dataset
    evaluator = SegmentationEvaluator("toy", NAMES, 255, label_files, **options)
    return evaluate_dataset(fake_model(predictions, key), batches(label_files, size), evaluator)["sem_seg"]


@pytest.mark.parametrize("size", [2, 7])
def test_batch_size_changes_nothing(dataset, size):
    assert evaluate(dataset, size) == evaluate(dataset)


def test_scores_and_labels_agree(dataset):
    assert evaluate(dataset, key="sem_seg") == evaluate(dataset)


def test_agrees_with_detectron2_where_definitions_do(dataset, tmp_path):
    # 0.6 has the old definition, later ones the new. All three classes are present: both agree.
    label_files, predictions = dataset
    name = "physseg_test_detectron2_evaluator"
    DatasetCatalog.register(name, lambda: [{"file_name": k, "sem_seg_file_name": v} for k, v in label_files.items()])
    MetadataCatalog.get(name).set(stuff_classes=NAMES, ignore_label=255)
    try:
        theirs = SemSegEvaluator(name, distributed=False)
        theirs.reset()
        for inputs in batches(label_files):
            theirs.process(inputs, fake_model(predictions, "sem_seg")(inputs))
        expected = theirs.evaluate()["sem_seg"]
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    ours = evaluate(dataset)
    assert ours["N_gt"] == ours["N_gt_or_pred"] == 3
    for metric in ("mIoU", "fwIoU", "mACC", "pACC", *(f"IoU-{c}" for c in NAMES)):
        assert ours[metric] == pytest.approx(expected[metric], rel=1e-12)
    assert ours["mIoU_old"] == ours["mIoU"]


def test_an_image_given_twice_counts_once(dataset):
    label_files, predictions = dataset
    evaluator = SegmentationEvaluator("toy", NAMES, 255, label_files)
    twice = batches(label_files) + batches(list(label_files)[:2])
    timing = Timing()
    assert evaluate_dataset(fake_model(predictions), twice, evaluator, timing=timing)["sem_seg"] == evaluate(dataset)
    assert timing.images == 7


def test_restored_images_are_not_predicted_again(dataset):
    label_files, predictions = dataset
    first = SegmentationEvaluator("toy", NAMES, 255, label_files)
    evaluate_dataset(fake_model(predictions), batches(list(label_files)[:3]), first)
    asked = []

    def model(inputs):
        asked.extend(x["file_name"] for x in inputs)
        return fake_model(predictions)(inputs)

    second = SegmentationEvaluator("toy", NAMES, 255, label_files)
    second.restore(list(first.images.values()))
    assert evaluate_dataset(model, batches(label_files, 2), second)["sem_seg"] == evaluate(dataset)
    assert asked == list(label_files)[3:]


def test_background_folding_after_the_argmax(tmp_path):
    # Two things, then three names that stand for background: the class 2.
    Image.fromarray(np.array([[0, 1, 2, 2]], np.uint8)).save(tmp_path / "a.png")
    evaluator = SegmentationEvaluator(
        "toy", ["cat", "dog", "background"], 255, {"a": str(tmp_path / "a.png")}, num_prompts=5, fold_from=2
    )
    # Summed background scores would win on the second pixel; the best single name does not.
    scores = torch.tensor([[0.9, 0, 0.1, 0], [0, 0.4, 0, 0.3], [0, 0.3, 0, 0], [0, 0.3, 0.5, 0], [0.1, 0, 0, 0.4]])
    evaluator.process([{"file_name": "a"}], [{"sem_seg": scores[:, None]}])
    result = evaluator.evaluate()["sem_seg"]
    assert result["mIoU"] == 100.0
    assert result["IoU-background"] == 100.0


def test_a_foreign_number_of_classes_is_an_error(tmp_path):
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "a.png")
    files = {"a": str(tmp_path / "a.png")}
    evaluator = SegmentationEvaluator("pas20b", ["cat", "background"], 255, files, num_prompts=3, fold_from=1)
    with pytest.raises(ValueError, match=r"pas20b: the model gives 2 classes where the vocabulary has 3"):
        evaluator.process([{"file_name": "a"}], [{"sem_seg": torch.zeros(2, 1, 1)}])
    with pytest.raises(ValueError, match=r"a was given a vocabulary of 2 names, expected 3"):
        evaluator.process([{"file_name": "a", "vocabulary": NAMES[:2]}], [{"labels": torch.zeros(1, 1).long()}])
    with pytest.raises(ValueError, match=r"predicted class 3, but the vocabulary has 3 names"):
        evaluator.process([{"file_name": "a"}], [{"labels": torch.full((1, 1), 3)}])
    with pytest.raises(ValueError, match=r"3 prompts for 2 classes, and no class to fold into"):
        SegmentationEvaluator("ade", ["cat", "dog"], 255, files, num_prompts=3)


def test_stray_label_names_the_file(tmp_path):
    Image.fromarray(np.full((1, 1), 7, np.uint8)).save(tmp_path / "a.png")
    evaluator = SegmentationEvaluator("toy", NAMES, 255, {"a": str(tmp_path / "a.png")})
    with pytest.raises(ValueError, match=r"a\.png: label 7: expected 0\.\.2 or the ignore label 255"):
        evaluator.process([{"file_name": "a"}], [{"labels": torch.zeros(1, 1, dtype=torch.long)}])


def test_foreign_image_is_an_error(dataset):
    evaluator = SegmentationEvaluator("toy", NAMES, 255, dataset[0])
    with pytest.raises(KeyError, match=r"elsewhere\.jpg is no image of this dataset"):
        evaluator.process([{"file_name": "elsewhere.jpg"}], [{"labels": torch.zeros(1, 1)}])


def test_boundary_iou_is_added_by_choice(dataset):
    assert "boundary_IoU" not in evaluate(dataset)
    with_it = evaluate(dataset, boundary_dilation=0.02)
    assert 0 < with_it["boundary_IoU"] < 100
    assert with_it["mIoU"] == evaluate(dataset)["mIoU"]


def test_regions_are_metrics_of_their_own(dataset):
    """A region that is the whole image gives the mIoU itself; several do not get into each other's way."""

    def everywhere(prediction, target, num_classes, ignore_label):
        known = target != ignore_label
        parts = (target[known & (prediction == target)], target[known], prediction[known])
        return np.stack([np.bincount(part, minlength=num_classes) for part in parts])

    def nowhere(prediction, target, num_classes, ignore_label):
        return np.zeros((3, num_classes), np.int64)

    found = evaluate(dataset, boundary_dilation=0.02, regions={"nowhere": nowhere, "everywhere": everywhere})
    assert found["everywhere"] == pytest.approx(found["mIoU"])
    assert np.isnan(found["nowhere"])
    assert found["boundary_IoU"] == evaluate(dataset, boundary_dilation=0.02)["boundary_IoU"]


def test_regions_of_the_config():
    opts = ["TEST.BOUNDARY_WIDTHS", "[0.01, 0.005]", "TEST.THIN_WIDTH", "0.06"]
    assert list(regions_from_config(load_config(None, opts))) == ["boundary_IoU_0.01", "boundary_IoU_0.005", "thin_IoU"]
    assert regions_from_config(load_config(None)) == {}


def test_perfect_prediction_has_perfect_boundaries(dataset):
    label_files, _ = dataset
    truth = {k: torch.from_numpy(np.array(Image.open(v)).astype(int)) for k, v in label_files.items()}
    evaluator = SegmentationEvaluator("toy", NAMES, 255, label_files, boundary_dilation=0.02)
    result = evaluate_dataset(fake_model(truth), batches(label_files), evaluator)["sem_seg"]
    assert result["boundary_IoU"] == result["mIoU"] == 100.0


def test_modules_are_put_back_in_training_mode(dataset):
    label_files, predictions = dataset

    class Model(torch.nn.Module):
        def forward(self, inputs):
            assert not self.training
            assert not torch.is_grad_enabled()
            return fake_model(predictions)(inputs)

    model = Model().train()
    evaluate_dataset(model, batches(label_files), SegmentationEvaluator("toy", NAMES, 255, label_files))
    assert model.training
