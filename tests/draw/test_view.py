from tinygrad_rnn.draw.view import Cluster, View


def test_steps_are_the_innermost_ones_around_each_cluster():
    made = [("a", None, None), ("t=0", 0, 0), ("cell", 1, None), ("t=1", 2, 1), ("b", 0, None)]
    clusters = [Cluster(title, title, parent, step) for title, parent, step in made]
    assert View(clusters=clusters).steps() == [None, 1, 1, 3, None]
