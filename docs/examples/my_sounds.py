import astmoa


def drums(root):
    """Files such as kick-anna-03.wav: the drum, who plays it, a number"""
    for path in sorted(root.rglob("*.wav")):
        drum, player, _ = path.stem.split("-")
        yield astmoa.Sound(path, label=drum, group=player, fold=1 + len(player) % 3)
