"""Tutorial 2: drawing an unrolled network.

    python tutorials/02_drawing_a_network.py

Writes lstm.svg, the diagram that the README shows: an LSTM over three steps, a linear layer on its last
output, and the loss; and cells.svg, anatomy.svg and flow.svg.
"""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn

# ---------------------------------------------------------------- 1. Run the network once

rng = np.random.default_rng(0)
x = rng.standard_normal((8, 3, 2))  # (batch, time, features): three steps are enough to see the pattern
y = rng.standard_normal((8, 1))


class Forecast(nn.Module):
    def __init__(self):
        self.lstm = nn.LSTM(2, 4, return_sequences=False, return_state=False, rng=rng, dtype=np.float64)
        self.head = nn.Linear(4, 1, rng=rng, dtype=np.float64)

    def forward(self, x):
        return self.head(self.lstm(x))


model = Forecast()
with tg.scope("loss"):
    loss = nn.mse(model(x), y)

# ---------------------------------------------------------------- 2. Draw what it did

# The diagram is made from the tape, so it shows what was computed and nothing else. Each module's call and
# each time step is a frame; time runs from left to right. Parameters are drawn once in each step that uses
# them, with a dashed border where it is one and the same parameter in several steps. The states h and c go
# from the bottom of a step to the top of the next.
diagram = draw.graph(loss)
print(f"wrote {diagram.save('lstm.svg')}")

# The text behind it is Graphviz's DOT language, the same from run to run, fit for version control.
print(diagram.source[:300], "...")

# ---------------------------------------------------------------- 3. From farther away, and from nearer

# One box per cell and time step is what lectures and papers show. A suffix of .pdf is for papers too, and
# .tex gives TikZ, in the fonts of the document around it.
print(f"wrote {draw.graph(loss, view='cells', title='An LSTM unrolled').save('cells.svg')}")

# Long sequences are folded: the middle of the loop is left out.
x_long = rng.standard_normal((8, 50, 2))
assert "46 steps" in draw.graph(nn.mse(model(x_long), y), view="cells", fold=True).text()

# What happens inside one cell, as textbooks draw it. The figure is filled from a step that was really run,
# and a cell that does anything else than the textbook's is refused.
print(f"wrote {draw.anatomy(model.lstm).save('anatomy.svg')}")

# ---------------------------------------------------------------- 4. What the picture tells

# With gradients, the arrows of the states are as thick as the gradients that come back along them, and a
# ribbon under the steps says how large they are (a power of ten is a quarter of the scale, so that close ones
# look alike). With highlight, only the routes of one parameter are left.
flow = draw.graph(loss, show=("shapes", "gradients"), highlight="weight_hh_l0")
print(f"wrote {flow.save('flow.svg')}")

# ---------------------------------------------------------------- 5. Before or after backward

# Backward lets go of the arrays that the tape saved, and keeps the tape's structure.
loss.backward()
assert draw.graph(loss).source == diagram.source
