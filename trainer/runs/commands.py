"""Table of the subcommands of ``train``: forms, keys and examples, for help and for messages.

It imports no other module of the package, so that help is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

OVERRIDABLE_KEYS = {
    "device",
    "threads",
    "num_workers",
    "worker_timeout",
    "data_dir",
    "allow_changed_data",
    "verbose",
    "debug",
}
"""Keys that depend on the machine and the command, so that a subcommand may override them."""
TRAINING_KEYS: Mapping[str, str] = {
    "devices": "number of processes, which must divide the number of shards of the run",
    "checkpoint_activations": "compute activations of repeated blocks again in the backward pass, to save memory",
    "strategy": "data_parallel; or fsdp: each process holds only its part of the model",
    "shard_optimizer": "whether the processes divide the state of the optimizer",
    "process_timeout": "timeout in seconds for another process that does not respond",
}
"""Further such keys of a command that trains, with their meanings."""


OUTPUT_OPTIONS = {"id_column", "overlay", "rolling", "top_k"}
"""Options with which a data set reads another file that only concern which predictions are written, and how."""


DATA_OPTIONS: Mapping[str, str] = {
    "on_error": "error (default) refuses a file with rows or images that cannot be read, skip leaves them out",
    "id_column": "tables: name or number of the column that names the rows of the output",
    "rolling": "series: true forecasts from every step of the file, not only from its end",
    "stride": "series: a forecast from every N-th step only",
    "gaps": "series: missing steps are an error, or interpolate or drop; by default as in training",
    "labels": "series of unequal length: whether the first number of each row is its class",
    "window": "masks: side of the windows in which larger images are predicted",
    "overlap": "masks: share of a window that the next one covers too (default: 0.5)",
    "overlay": "masks: true also writes each image with its mask drawn over it",
    "top_k": "links and interactions: the best N new ones; triples: the best N answers; next words: the best N",
}
"""Options with which data sets read another file, by kind of data; each data set has some of them."""
TASK_OPTIONS: Mapping[str, str] = {
    "beam_size": "translations: number of beams (default: 1, greedy)",
    "length": "continuations: number of tokens (default: 100)",
    "temperature": "continuations: randomness (default: 0, none)",
    "top_p": "continuations: only the most likely tokens of this total probability (default: 1)",
    "seed": "continuations: seed of the random numbers (default: 0)",
}
"""Further options of ``predict``; each task has some of them."""


CHECKPOINT_KEY = "checkpoint"
_CHECKPOINT = {CHECKPOINT_KEY: "step_STEP or best_STEP of the run, or last (default: best)"}


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        forms: Effect by arguments, such as ``RUN [input=PATH]``.
        example: Arguments of an example.
        keys: Meaning of each key that only this subcommand has.
        takes_run: Whether it takes a run directory, and with it ``OVERRIDABLE_KEYS``.
        options: Meaning of each key that only some data sets and tasks have.
        note: Sentences about it, for its help.
    """

    forms: Mapping[str, str]
    example: str
    keys: Mapping[str, str] = {}
    takes_run: bool = False
    options: Mapping[str, str] = {}
    note: str = ""


_RUN = "outputs/2026-01-31/12-00-00-"
COMMANDS: Mapping[str, Command] = {
    "list": Command(
        {
            "[models|data|tasks|optimizers|schedulers|loggers|experiments]": "",
            "runs [DIR] [where=CONDITION] [sort=KEY]": "all runs in a directory (default: outputs), the newest first",
        },
        'runs where="data=mnist and accuracy>0.98" sort=seconds',
        {
            "where": "runs: comparisons KEY=VALUE, also != < <= > >= and ~ (contains), joined by and, or, not, ( )",
            "sort": "runs: key to sort by, the best score first; -KEY turns the order around",
            "output": "runs: .csv or .json file with every result, instead of the table",
        },
        note="One line for each option. --config-dir DIR adds your own YAML files. Keys of runs are options (model),"
        " keys of the configuration (optimizer.lr), scores (accuracy, val.loss), status, date, tag, seconds, params.",
    ),
    "show": Command(
        {
            "[model=NAME | data=NAME | ...]": "keys with type, default and meaning; without a name the global keys",
            "data=NAME augment=NAME samples=N": "augmented training images of the first epochs",
            "RUN [features=LAYER row=N]": "layers of a run's model, or the feature maps of a test row",
        },
        f"{_RUN}cnn-digits features=LAYER row=0",
        {
            "samples": "number of training images to draw",
            "features": "layer whose feature maps are drawn; without it the layers are listed",
            "row": "test row that they are drawn for, from 0 (default)",
        },
        takes_run=True,
        note="For options of your own: --config-dir DIR adds your YAML files, plugins=[your_module] your classes.",
    ),
    "resume": Command(
        {"RUN": "resume a stopped run, bit for bit"}, f"{_RUN}lstm-adding", TRAINING_KEYS, takes_run=True
    ),
    "search": Command(
        {"KEY=VALUES ... budget=AMOUNT": "the best configuration in a space, within a budget"},
        "model=lstm optimizer.lr='tag(log,interval(1e-4,1e-1))' search=asha budget=40runs",
        {
            "search": "sobol (default), random, grid, tpe, or asha: bad runs pause, good ones continue",
            "budget": "30m (time), 20000steps (of all runs together) or 40runs (configurations)",
            "seeds": "number of seeds of each finalist (default: 3)",
            "finalists": "number of configurations that are trained with all seeds (default: 2)",
            "search_seed": "seed of the choice of configurations (default: 0)",
        },
        note="Ranges are those of Hydra: 16,32 range(16,129,16) interval(0,0.5) tag(log,interval(1e-4,1e-1))"
        " int(interval(2,9)); sweep=NAME takes them from conf/sweep/NAME.yaml. jobs=N runs N of them at once. A stopped"
        " search continues with resume=auto.",
    ),
    "evaluate": Command(
        {
            "RUN": "evaluate the best weights of a run on its test rows",
            "RUN input=PATH": "every metric of the task on a labeled file, with 95 % bootstrap intervals",
        },
        f"{_RUN}mlp-csv input=labeled.csv",
        {
            "input": "labeled file or folder; without it the test rows of the run",
            "output": "file to write: .json; by default evaluation.json in the run directory",
            "resamples": "number of resamples of the bootstrap, default 1000; 0 for no intervals",
            **_CHECKPOINT,
        },
        takes_run=True,
        options={key: meaning for key, meaning in DATA_OPTIONS.items() if key not in OUTPUT_OPTIONS},
    ),
    "predict": Command(
        {"RUN [input=PATH]": "labels, probabilities, numbers or forecasts for the rows of a file (default: test rows)"},
        f"{_RUN}mlp-csv input=tomorrow.csv output=labels.csv",
        {
            "input": "file or folder with the rows; without it the test rows of the run",
            "output": ".csv, .parquet, .jsonl or .npz file, or a directory for masks; by default in the run directory",
            "batch_size": "rows per batch; it does not change the predictions",
            **_CHECKPOINT,
        },
        takes_run=True,
        options={**DATA_OPTIONS, **TASK_OPTIONS},
    ),
    "sample": Command(
        {"RUN [prompt=TEXT ...]": "generate with the best weights: text, a translation, images, a graph"},
        f'{_RUN}char_lstm-tinyshakespeare prompt="To be"',
        {"output": ".csv, .parquet, .jsonl or .npz file of samples, without figures; default: the run directory"},
        takes_run=True,
    ),
    "score": Command(
        {"RUN [input=PATH]": "likelihood or anomaly score of each row of a file (default: its test rows)"},
        f"{_RUN}vae-digits input=digits.csv",
        {
            "input": "file or folder with the rows; without it the test rows of the run",
            "output": ".csv, .parquet, .jsonl or .npz file; by default scores.csv in the run directory",
            "batch_size": "rows per batch",
        },
        takes_run=True,
    ),
    "serve": Command(
        {"RUN": "answer requests over HTTP: POST /predict with rows or a file; GET /docs describes them"},
        f"{_RUN}mlp-csv port=8000",
        {
            "port": "port to listen at (default: 8000; 0 for any that is free)",
            "host": "address to listen at (default: 127.0.0.1, this machine only; 0.0.0.0 for all)",
            "max_megabytes": "maximum size of a request in MB (default: 32)",
        },
        takes_run=True,
        note="It needs the packages of: pip install 'train-zoo[serve]'. It has no authentication.",
    ),
    "export": Command(
        {"RUN format=FORMAT [output=DIR]": "write the best weights as files that other programs load, and check them"},
        f"{_RUN}lstm-adding format=[torch_export,onnx]",
        {
            "format": "one or several of safetensors, torch_export (a program for torch), onnx (for"
            " onnxruntime, with predict.py), hub (a folder with a model card, used like the run)",
            "output": "directory of the files; without it export/ in the run directory",
            "rows": "maximum number of rows of each split that hub contains; without it those that the run has stored",
        },
        takes_run=True,
        note="Each file is compared with the model on stored rows, at batches of 1, 7 and 64 and at two lengths. The"
        " largest difference stands in check.json; above 1e-4 no file is kept.",
    ),
    "plan": Command(
        {"[-m] KEY=VALUE ...": "what train KEY=VALUE ... will need: time, memory, disk; what its data looks like"},
        "model=lstm data=adding output=plan.json",
        {"output": ".json file to write as well"},
        note="The first steps, a validation, the test and the figures are executed and timed in a temporary directory.",
    ),
    "find": Command(
        {
            "lr KEY=VALUE ...": "learning rate at which the loss of a run falls fastest, by steps with rising rates",
            "batch_size KEY=VALUE ...": "smallest batch size that is nearly as fast as the fastest one",
        },
        "lr model=lstm data=adding",
        {"output": "directory of the curve; by default in outputs/find"},
        note="Only values that were run are suggested; there is no run directory.",
    ),
    "report": Command(
        {"[DIR]": "leaderboard of all runs in a directory (default: outputs)", "RUN": "page of a run, report.html"},
        "outputs/sweeps",
        {
            "output": "file to write; by default report.html in the directory",
            "watch": "true writes the page of a run again while it is training",
        },
        note="Both write a page: one HTML file without links to other servers, for any browser.",
    ),
    "compare": Command(
        {"RUN RUN [RUN ...]": "which is better? RUN is a run, or a directory with all seeds of a setting"},
        "outputs/sgd outputs/adam",
        {"output": "file to write: .json"},
        note="A difference between settings needs four seeds of each or more; one run of each speaks of the test rows.",
    ),
    "why": Command(
        {"RUN": "what went wrong or right in a run, with evidence and overrides to try"},
        f"{_RUN}lstm-adding",
        takes_run=True,
        note="It reads what the run has recorded, and loads its weights and rows. Runs in the same folder are compared"
        " over their seeds. It changes nothing.",
    ),
    "rerun": Command(
        {"RUN": "train a run again, and say whether it has the same bits"},
        f"{_RUN}lstm-adding",
        TRAINING_KEYS,
        takes_run=True,
        note="The new run is in RUN-rerun. The exit code is 1 if something differs; the first step that does is named,"
        " with what may be the cause.",
    ),
    "diff": Command(
        {"RUN RUN": "what differs between two runs: data, configuration, code, scores"},
        f"{_RUN}lstm-adding {_RUN}gru-adding",
    ),
    "tag": Command(
        {"RUN [TAG ...] [remove=TAG,...]": "add or remove tags of a run, or list them"},
        f"{_RUN}lstm-adding paper",
        {"remove": "tags to remove, separated by commas"},
        note="Tags select runs: train list runs where=tag=paper.",
    ),
    "rm": Command(
        {"RUN ... [yes=true]": "remove run directories, after a question"},
        f"{_RUN}lstm-adding",
        {"yes": "true removes without a question, as a script needs"},
        note="Only directories of runs are removed, all or none, and none in which a process is training.",
    ),
}
