"""Parameter files: round trip, every damage, and writing that never leaves half a file."""

import numpy as np
import pytest

from tinygrad_rnn import nn

STATE = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "이름": np.array([1.5, -2.5]),
    "scalar": np.array(3, dtype=np.int64),
    "empty": np.zeros((0, 2), np.float32),
}
METADATA = {"lag": [1, 12], "열": "승객", "scale": 0.25}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    nn.save_state(STATE, path, METADATA)
    return path


def same(state):
    return state.keys() == STATE.keys() and all(
        np.array_equal(state[k], v) and state[k].dtype == v.dtype for k, v in STATE.items()
    )


def test_round_trip(path):
    state, metadata = nn.load_state(path)
    assert same(state)
    assert metadata == METADATA


def test_the_same_contents_give_the_same_bytes(path, tmp_path):
    for k in range(5):
        nn.save_state(dict(reversed(STATE.items())), tmp_path / f"{k}.safetensors", METADATA)
        assert (tmp_path / f"{k}.safetensors").read_bytes() == path.read_bytes()


def test_modules_save_and_load(tmp_path):
    net, other = nn.LSTM(2, 3, 2, rng=0), nn.LSTM(2, 3, 2, rng=1)
    net.save(tmp_path / "net.safetensors")
    other.load(tmp_path / "net.safetensors")
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


def test_a_non_contiguous_array_is_saved_in_its_own_order(tmp_path):
    array = np.arange(6.0).reshape(2, 3).T[::-1]
    nn.save_state({"a": array}, tmp_path / "a.safetensors")
    assert np.array_equal(nn.load_state(tmp_path / "a.safetensors")[0]["a"], array)


def test_every_flipped_bit_is_refused_or_harmless(path):
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                state, metadata = nn.load_state(path)
            except ValueError:
                continue
            assert same(state)
            assert metadata == METADATA


def test_every_truncation_is_refused(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            nn.load_state(path)


def test_other_files_are_refused_by_name(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"not written by this library.*load_state_dict"):
        nn.load_state(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        nn.load_state(tmp_path / "absent.safetensors")


def test_a_failed_write_leaves_the_old_file_and_no_other(path, monkeypatch):
    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        nn.save_state({"w": np.zeros(1)}, path)
    assert same(nn.load_state(path)[0])
    assert list(path.parent.iterdir()) == [path]
