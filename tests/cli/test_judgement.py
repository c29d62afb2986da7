"""Whose matter an exception is, by where it was raised."""

import errno
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from safetensors import SafetensorError
from torch._utils import ExceptionWrapper

from physseg.cli.judgement import Kind, judge
from physseg.config import load_config
from physseg.data.images import BrokenFileError, read_image
from physseg.data.specs import get_spec
from physseg.data.vocabularies import check_vocabulary


def caught(function, *args):
    with pytest.raises(Exception) as info:  # noqa: PT011  (whatever it is)
        function(*args)
    return info.value


@pytest.mark.parametrize(
    ("function", "argument", "message"),
    [
        (check_vocabulary, [], "the vocabulary is empty; give at least one class name"),
        (check_vocabulary, "cat", "the vocabulary must be a list of names"),
        (get_spec, "nowhere", "no data set 'nowhere'"),
        (load_config, "nowhere.yaml", "Config file not found: nowhere.yaml"),
        (read_image, "nowhere.png", "no image nowhere.png"),
    ],
)
def test_a_raise_of_ours_is_a_refusal_with_its_own_words(function, argument, message):
    judgement = judge(caught(function, argument))
    assert judgement.kind is Kind.REFUSAL
    assert judgement.message.startswith(message)


def raise_here():
    raise ValueError("raised outside of physseg")


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (raise_here, ()),
        (torch.zeros(2).reshape, (3,)),  # RuntimeError in torch
        (torch.nn.Linear, ("a", 2)),  # TypeError in torch
        (check_vocabulary, (3,)),  # a line of ours that is no raise statement: iterating over a number
        (pickle.loads, (b"x",)),
    ],
)
def test_what_nobody_meant_to_raise_is_a_bug(function, arguments):
    assert judge(caught(function, *arguments)).kind is Kind.BUG


def test_the_same_class_from_torch_and_from_us():
    ours, theirs = caught(check_vocabulary, []), caught(torch.nn.Embedding, 1, 1, 7)
    assert judge(ours).kind is Kind.REFUSAL
    assert judge(theirs).kind is Kind.BUG


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "There is a file where a folder is wanted"),
        (errno.ELOOP, "Symbolic links lead in a circle"),
    ],
)
def test_an_os_error_keeps_its_text_and_gets_advice(number, advice):
    judgement = judge(OSError(number, os.strerror(number), "/some/file"))
    assert judgement.kind is Kind.MACHINE
    assert "/some/file" in judgement.message
    assert advice in judgement.message


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (MemoryError(), "Memory has run out"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Memory has run out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "Memory has run out"),
        (RuntimeError("Found no NVIDIA driver on your system."), "set MODEL.DEVICE to cpu"),
        (AssertionError("Torch not compiled with CUDA enabled"), "set MODEL.DEVICE to cpu"),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3"), "disk is full"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk is full"),
        (RuntimeError("Gloo connectFullMesh failed with [..] timed out connecting: SO_ERROR"), "check --dist-url"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "Memory has run out"),
    ],
)
def test_texts_of_libraries_about_the_machine(error, advice):
    judgement = judge(error)
    assert judgement.kind is Kind.MACHINE
    assert advice in judgement.message


def test_unknown_devices_as_torch_says_it():
    for name in ("gpu0", "cuda:x"):
        assert judge(caught(torch.device, name)).kind is Kind.MACHINE


def test_a_peer_that_has_gone_is_an_echo():
    error = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:525] Connection closed by peer [127.0.0.1]")
    assert judge(error).kind is Kind.ECHO


def from_data_worker(function, argument):
    """What a data worker of PyTorch does with an exception: pack it as text, and raise it in the main process."""
    try:
        function(argument)
    except Exception:
        wrapper = ExceptionWrapper(where="in DataLoader worker process 0")
    wrapper.reraise()


@pytest.mark.parametrize(
    ("function", "argument", "kind"),
    [(read_image, __file__, Kind.REFUSAL), (check_vocabulary, [], Kind.REFUSAL), (check_vocabulary, 3, Kind.BUG)],
)
def test_judged_alike_in_a_data_worker_and_a_pool(function, argument, kind):
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        pooled = caught(pool.submit(function, argument).result)
    here = judge(caught(function, argument))
    assert here.kind is kind
    for error in (caught(from_data_worker, function, argument), pooled):
        judgement = judge(error)
        assert judgement.kind is kind
        assert judgement.message == here.message


def spawned(rank, function, argument):
    function(argument)


def test_judged_alike_in_a_started_process():
    start = torch.multiprocessing.start_processes
    error = caught(lambda: start(spawned, (check_vocabulary, []), nprocs=1, start_method="fork"))
    assert judge(error).kind is Kind.REFUSAL
    assert judge(error).message == "the vocabulary is empty; give at least one class name"
    assert judge(caught(lambda: start(spawned, (check_vocabulary, 3), nprocs=1, start_method="fork"))).kind is Kind.BUG


def test_a_subclass_of_oserror_that_we_raise_keeps_its_words():
    error = caught(read_image, os.path.dirname(__file__))
    assert isinstance(error, BrokenFileError)
    assert judge(error).message.endswith("it is a folder")
