"""The programs: what the command lines of tools/ and datasets/ do, one module each.

A module has ``parser()``, the command line, and ``main(argv)``, which does what it says and returns the exit status.
`physseg.cli.boundary.run_program` runs it: there, and nowhere else, an exception becomes a message.
"""

# Name -> what it does, for a list of them; the module is physseg.cli.NAME. Nothing is imported to read this table.
PROGRAMS = {
    "train": "train a model, or evaluate one with --eval-only",
    "evaluate": "evaluate a checkpoint on several benchmarks, with tables and a report",
    "predict": "segment images, folders and videos with your own words",
    "serve": "a page in the browser: drop a picture, type words",
    "models": "list the models that go by a name",
    "sweep": "run the trainings of a sweep file and write one table of them",
    "convert": "convert a published CAT-Seg checkpoint, or back",
    "lighten": "make a small file for predicting of a checkpoint",
    "export": "export a model to ONNX with the vocabulary as an input",
    "prepare": "prepare data sets from their raw files, and verify them",
    "check_data": "check prepared data sets",
    "structure_labels": "make structure maps ahead of training",
    "teacher_features": "make the teacher's features ahead of ZeroSeg's training",
    "visualize": "draw the four pseudo ground truths of images",
    "similarity": "similarity of vocabularies by CLIP's text features",
    "oracle": "what limits the score: finding regions or naming them",
    "toy_scene": "draw a picture of the toy world to try the toy model on",
    "loss_gradients": "norms and cosines of the loss terms' gradients",
    "toy_world": "write the toy world in the raw formats of the real datasets",
    "pretrain_toy_clip": "pre-train the toy CLIP that physseg ships",
    "demo": "the whole job on a laptop's CPU, from raw files to a report",
}
