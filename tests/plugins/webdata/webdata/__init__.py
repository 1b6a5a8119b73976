"""Data sets and weights on a server; the environment says where, and what is promised."""

import dataclasses
import os

from harness.api import (
    BackboneSpec,
    DataFile,
    DatasetSpec,
    HarnessError,
    MissingDataError,
    NoParams,
    PartSize,
    SampleTable,
    WeightFile,
    hookimpl,
)

SITE = os.environ.get("WEBDATA_SITE", "http://127.0.0.1:9")
FILE = DataFile(
    name="pictures.tgz",
    urls=(f"{SITE}/gone.tgz", f"{SITE}/pictures.tgz"),
    md5=os.environ.get("WEBDATA_MD5", ""),
    holds="pictures",
)


def build(params, context):
    """Return the images of `pictures/CLASS/….jpg`; the first half of the classes trains."""
    import numpy as np

    root = context.root / "pictures"
    folders = sorted((root / "pictures").glob("*"))
    if not folders:
        raise MissingDataError(f"no {root / 'pictures'}", hint=CARD.how_to_get)
    paths = [path for folder in folders for path in sorted(folder.glob("*.jpg"))]
    labels = np.array([int(path.parent.name) for path in paths], dtype=np.int64)
    return SampleTable(
        name="pictures",
        sample_id=np.arange(len(paths), dtype=np.int64),
        label=labels,
        part=np.where(labels <= len(folders) // 2, "train", "test"),
        root=root,
        paths=[path.relative_to(root).as_posix() for path in paths],
    )


def build_backbone(params, context):
    """Refuse: nobody trains with it."""
    raise NotImplementedError


CARD = DatasetSpec(
    name="pictures",
    summary="Stripes.",
    params=NoParams,
    build=build,
    how_to_get="harness data fetch pictures",
    num_images=64,
    num_classes=8,
    parts=(PartSize("train", 32, 4), PartSize("test", 32, 4)),
    folder="pictures",
    files=(FILE,),
)


def build_album(params, context):
    """Return the images of `pictures` if the file that is fetched after them is here."""
    table = build(params, context)
    if not (context.root / "pictures" / "names.txt").exists():
        raise HarnessError("pictures/names.txt is missing")
    return table


ALBUM = dataclasses.replace(
    CARD,
    name="album",
    build=build_album,
    files=(FILE, DataFile(name="names.txt", urls=(f"{SITE}/names.txt",))),
)


@hookimpl
def harness_datasets():
    """Return the data sets: one of one file, and the same with another beside it."""
    return [CARD, ALBUM]


@hookimpl
def harness_backbones():
    """Return the backbone whose weights can be fetched."""
    weights = {"stripes": WeightFile(url=f"{SITE}/stripes.pth")}
    return [
        BackboneSpec(
            name="stripes_net",
            summary="Nothing.",
            build=build_backbone,
            features=4,
            weights=weights,
        )
    ]
