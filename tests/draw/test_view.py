from tinygrad_rnn.draw.view import Cluster, View


def test_steps_are_the_innermost_ones_around_each_cluster():
    clusters = [Cluster("a"), Cluster("t=0", 0, 0), Cluster("cell", 1), Cluster("t=1", 2, 1), Cluster("b", 0)]
    assert View(clusters=clusters).steps() == [None, 1, 1, 3, None]
