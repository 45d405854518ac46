"""placeholder until the data engineer's version lands"""
import numpy as np, soundfile
def read(path):
    wav, rate = soundfile.read(path, dtype="float32", always_2d=True)
    wav = wav.mean(1)
    if rate != 16000:
        from scipy.signal import resample_poly
        from math import gcd
        g = gcd(rate, 16000)
        wav = resample_poly(wav, 16000 // g, rate // g).astype(np.float32)
    return wav
