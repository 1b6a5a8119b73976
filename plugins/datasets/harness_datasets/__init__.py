"""Data sets in their official layouts, and folders and CSV files of your own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.api import DataContext, DatasetSpec, NoParams, Params, SampleTable, hookimpl


class OfficialParams(Params):
    """Parameters of a data set whose size is known."""

    allow_partial: Annotated[
        bool,
        Field(description="accept other numbers of images and classes than the official copy has"),
    ] = False


class InShopParams(OfficialParams):
    """Parameters of In-Shop, which is published in two resolutions."""

    images: Annotated[
        Literal["img", "img_highres"],
        Field(description="folder of the images; papers use img, highres gives other numbers"),
    ] = "img"


class FolderParams(Params):
    """Parameters of a folder with one sub-folder for each class."""

    path: Annotated[
        str, Field(min_length=1, description="the folder; relative to the data folder or absolute")
    ]


class CsvParams(Params):
    """Parameters of a CSV file that lists images."""

    path: Annotated[
        str, Field(min_length=1, description="the file; relative to the data folder or absolute")
    ]


def _digits(_params: NoParams, _context: DataContext) -> SampleTable:
    from harness_datasets import digits

    return digits.load(DIGITS)


def _omniglot(params: OfficialParams, context: DataContext) -> SampleTable:
    from harness_datasets import omniglot

    return omniglot.load(OMNIGLOT, context.root, allow_partial=params.allow_partial)


def _cub200(params: OfficialParams, context: DataContext) -> SampleTable:
    from harness_datasets import cub

    return cub.load(CUB200, context.root, allow_partial=params.allow_partial)


def _cars196(params: OfficialParams, context: DataContext) -> SampleTable:
    from harness_datasets import cars

    return cars.load(CARS196, context.root, allow_partial=params.allow_partial)


def _sop(params: OfficialParams, context: DataContext) -> SampleTable:
    from harness_datasets import sop

    return sop.load(SOP, context.root, allow_partial=params.allow_partial)


def _inshop(params: InShopParams, context: DataContext) -> SampleTable:
    from harness_datasets import inshop

    return inshop.load(
        INSHOP, context.root, images=params.images, allow_partial=params.allow_partial
    )


def _folder(params: FolderParams, context: DataContext) -> SampleTable:
    from harness_datasets import own

    return own.load_folder(context.root / params.path)


def _csv(params: CsvParams, context: DataContext) -> SampleTable:
    from harness_datasets import own

    return own.load_csv(context.root / params.path)


DIGITS = DatasetSpec(
    name="digits",
    summary="Handwritten digits of scikit-learn, 8x8 grey; 0-4 train, 5-9 test.",
    paper="https://archive.ics.uci.edu/dataset/80",
    build=_digits,
    how_to_get="nothing to do: it comes with scikit-learn",
    num_images=1_797,
    num_classes=10,
)
OMNIGLOT = DatasetSpec(
    name="omniglot",
    summary="Handwritten characters, 105x105 grey; five alphabets train, three others test.",
    paper="https://doi.org/10.1126/science.aab3050",
    params=OfficialParams,
    build=_omniglot,
    how_to_get="put images_background_small1.zip and images_background_small2.zip from "
    "https://github.com/brendenlake/omniglot (folder python) into FOLDER/omniglot and pass "
    "--data FOLDER",
    num_images=4_840,
    num_classes=242,
)
CUB200 = DatasetSpec(
    name="cub200",
    summary="Caltech-UCSD Birds-200-2011: 200 species of birds.",
    paper="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    params=OfficialParams,
    build=_cub200,
    how_to_get="unpack CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 into "
    "FOLDER and pass --data FOLDER",
    num_images=11_788,
    num_classes=200,
)
CARS196 = DatasetSpec(
    name="cars196",
    summary="Stanford Cars: 196 models of cars.",
    paper="https://doi.org/10.1109/ICCVW.2013.77",
    params=OfficialParams,
    build=_cars196,
    how_to_get="put car_ims/ and cars_annos.mat, or cars_train/, cars_test/ and devkit/, or the "
    "by-class copy car_data/ with names.csv into FOLDER/cars196 and pass --data FOLDER; the "
    "original server is gone, so take a mirror",
    num_images=16_185,
    num_classes=196,
)
SOP = DatasetSpec(
    name="sop",
    summary="Stanford Online Products: 22,634 products of an auction site.",
    paper="arXiv:1511.06452",
    params=OfficialParams,
    build=_sop,
    how_to_get="unpack Stanford_Online_Products.zip from "
    "https://cvgl.stanford.edu/projects/lifted_struct/ into FOLDER and pass --data FOLDER",
    num_images=120_053,
    num_classes=22_634,
)
INSHOP = DatasetSpec(
    name="inshop",
    summary="DeepFashion In-Shop Clothes Retrieval: 7,982 items, query and gallery apart.",
    paper="https://doi.org/10.1109/CVPR.2016.124",
    params=InShopParams,
    build=_inshop,
    how_to_get="ask for it at http://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html, put "
    "Eval/list_eval_partition.txt and Img/img (from img.zip) into FOLDER/Inshop_Clothes and pass "
    "--data FOLDER",
    num_images=52_712,
    num_classes=7_982,
)
FOLDER = DatasetSpec(
    name="folder",
    summary="A folder of your own: class/image.jpg, or train/class/image.jpg and test/….",
    params=FolderParams,
    check_params={"path": "missing"},
    build=_folder,
    how_to_get="set dataset.params.path to the folder",
)
CSV = DatasetSpec(
    name="csv",
    summary="A CSV file of your own with columns path, label and, if you like, part and id.",
    params=CsvParams,
    check_params={"path": "missing"},
    build=_csv,
    how_to_get="set dataset.params.path to the file",
)


@hookimpl
def harness_datasets() -> list[DatasetSpec]:
    """Return the data sets of this plugin."""
    return [DIGITS, OMNIGLOT, CUB200, CARS196, SOP, INSHOP, FOLDER, CSV]
