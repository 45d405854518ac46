"""An expert as FitHuBERT's and ARMHuBERT's are: a YAML file beside a Lightning checkpoint in which
the teacher lies, too, and a network of its own folder that is made of fairseq's layers."""

import torch
import yaml
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from .model import Student, StudentConfig


class UpstreamExpert(nn.Module):
    def __init__(self, ckpt, model_config, **kwargs):
        super().__init__()
        with open(model_config) as file:
            config = yaml.load(file, Loader=yaml.FullLoader)["distiller"]
        self.model = Student(StudentConfig(**config))
        state, before = torch.load(ckpt, map_location="cpu")["state_dict"], "student_model."
        mine = {k.removeprefix(before): v for k, v in state.items() if k.startswith(before)}
        self.model.load_state_dict(mine)

    def get_downsample_rates(self, key):
        return 320

    def forward(self, wavs):
        x, told = self.model(pad_sequence(wavs, batch_first=True))
        return {"last_hidden_state": x, "hidden_states": told}
