
from trainer.engine.callbacks import Callback
from trainer.core.types import PositiveInt
from trainer.viz.loggers.logger import Logger


class StopAt(Callback):
    def __init__(self, step: PositiveInt, fail_at: int | None = None):
        self.step, self.fail_at, self.losses = step, fail_at, []

    def on_step_end(self, trainer, metrics):
        self.losses.append(metrics["loss"])
        trainer.should_stop = trainer.step >= self.step
        if trainer.step == self.fail_at:
            raise LookupError("nothing there")

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state):
        self.losses = list(state["losses"])


class Broken(Logger):
    def __init__(self, after: int = 0):
        self.after = after

    def open(self, run, run_id, step):
        if not self.after:
            raise OSError("no server")
        return "run"

    def write_metrics(self, metrics, step):
        if step >= self.after:
            raise OSError("connection lost")

    def close(self, status):
        raise AssertionError("it is off")


class Unbuildable(Callback):
    def __init__(self):
        raise RuntimeError("on purpose")
