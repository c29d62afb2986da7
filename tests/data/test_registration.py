import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from physseg.data.registration import files_by_stem, load_records, register, register_all, unregister_all
from physseg.data.specs import all_specs


@pytest.fixture(autouse=True)
def own_entries():
    """Each test starts without this package's entries and ends with the usual ones."""
    unregister_all()
    yield
    unregister_all()
    register_all()


def test_every_spec_is_registered_once(tmp_path):
    register_all(tmp_path)
    register_all(tmp_path)
    assert {spec.registered_name for spec in all_specs()} <= set(DatasetCatalog.list())
    metadata = MetadataCatalog.get("voc_2012_test_background_sem_seg")
    assert (len(metadata.stuff_classes), len(metadata.vocabulary)) == (21, 59)
    assert metadata.ignore_label == 255
    assert metadata.evaluator_type == "sem_seg_background"
    assert metadata.image_root == str(tmp_path / "VOCdevkit/VOC2012/JPEGImages")
    assert metadata.sem_seg_root == str(tmp_path / "VOCdevkit/VOC2012/annotations_detectron2_bg/val")


def test_another_root_moves_the_entries(tmp_path, monkeypatch):
    register_all(tmp_path / "a")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "b"))
    register_all()
    assert MetadataCatalog.get("ade20k_150_test_sem_seg").image_root.startswith(str(tmp_path / "b"))


def test_a_name_of_another_package_is_left_alone(tmp_path):
    name = "context_459_test_sem_seg"
    DatasetCatalog.register(name, lambda: ["theirs"])
    MetadataCatalog.get(name).set(stuff_classes=["theirs"], ignore_label=459)
    try:
        register_all(tmp_path)
        register_all(tmp_path)
        assert DatasetCatalog.get(name) == ["theirs"]
        assert MetadataCatalog.get(name).ignore_label == 459
        assert len(MetadataCatalog.get(name).vocabulary) == 459  # what they lack is added
        unregister_all()
        assert name in DatasetCatalog
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_records_pair_by_stem(prepared):
    root, spec = prepared
    register(spec, root)
    (spec.images_path(root) / "unlabelled.jpg").write_bytes(b"")
    (spec.labels_path(root) / ".v9.tmp.png").write_bytes(b"")
    records = DatasetCatalog.get(spec.registered_name)
    assert records == [
        {
            "file_name": str(spec.images_path(root) / f"v{i}.jpg"),
            "sem_seg_file_name": str(spec.labels_path(root) / f"v{i}.png"),
        }
        for i in range(3)
    ]


def test_missing_things_are_named(prepared):
    root, spec = prepared
    images, labels = str(spec.images_path(root)), str(spec.labels_path(root))
    with pytest.raises(FileNotFoundError, match=r"no folder of images .*gone.*make it: do this"):
        load_records(images + "gone", labels, (".jpg",), (".png",), "do this")
    with pytest.raises(FileNotFoundError, match=r"no label maps \(.tif\) in"):
        load_records(images, labels, (".jpg",), (".tif",))
    (spec.images_path(root) / "v1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 label maps in .* have no image in .*: v1; expected .jpg"):
        load_records(images, labels, (".jpg",), (".png",))


def test_two_files_of_one_stem_are_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"two images of the same name in .*: a.jpg and a.png"):
        files_by_stem(tmp_path, (".jpg", ".png"), "images", "")
