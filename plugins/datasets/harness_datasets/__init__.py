"""Data sets in their official layouts, and folders and CSV files of your own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.api import (
    DataContext,
    DataFile,
    DatasetSpec,
    NoParams,
    Params,
    PartSize,
    SampleTable,
    hookimpl,
)

BRENDEN_LAKE = "https://github.com/brendenlake/omniglot/raw/master/python"
KRAUSE = "http://ai.stanford.edu/~jkrause/car196"
WEB_ARCHIVE = "https://web.archive.org/web/2022id_"  # the nearest copy, as it was served
GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"


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
    from harness_datasets.files import hinting

    with hinting(OMNIGLOT, context.root):
        return omniglot.load(OMNIGLOT, context.root, allow_partial=params.allow_partial)


def _cub200(params: OfficialParams, context: DataContext) -> SampleTable:
    from harness_datasets import cub
    from harness_datasets.files import hinting

    with hinting(CUB200, context.root):
        return cub.load(CUB200, context.root, allow_partial=params.allow_partial)


def _cars196(params: OfficialParams, context: DataContext) -> SampleTable:
    from harness_datasets import cars
    from harness_datasets.files import hinting

    with hinting(CARS196, context.root):
        return cars.load(CARS196, context.root, allow_partial=params.allow_partial)


def _sop(params: OfficialParams, context: DataContext) -> SampleTable:
    from harness_datasets import sop
    from harness_datasets.files import hinting

    with hinting(SOP, context.root):
        return sop.load(SOP, context.root, allow_partial=params.allow_partial)


def _inshop(params: InShopParams, context: DataContext) -> SampleTable:
    from harness_datasets import inshop
    from harness_datasets.files import hinting

    with hinting(INSHOP, context.root):
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
    parts=(PartSize("train", 901, 5), PartSize("test", 896, 5)),
)
OMNIGLOT = DatasetSpec(
    name="omniglot",
    summary="Handwritten characters, 105x105 grey; five alphabets train, three others test.",
    paper="https://doi.org/10.1126/science.aab3050",
    params=OfficialParams,
    build=_omniglot,
    how_to_get="harness data fetch omniglot; or put images_background_small1.zip and "
    "images_background_small2.zip from https://github.com/brendenlake/omniglot (folder python) "
    "into FOLDER/omniglot and pass --data FOLDER",
    num_images=4_840,
    num_classes=242,
    parts=(PartSize("train", 2_720, 136), PartSize("test", 2_120, 106)),
    folder="omniglot",
    files=(
        DataFile(
            name="images_background_small1.zip",
            urls=(f"{BRENDEN_LAKE}/images_background_small1.zip",),
            size=1_319_022,
            md5="e704a628b5459e08445c13499850abc4",
            sha256="f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
        ),
        DataFile(
            name="images_background_small2.zip",
            urls=(f"{BRENDEN_LAKE}/images_background_small2.zip",),
            size=1_580_917,
            md5="b75a71a51d3b13f821f212756fe481fd",
            sha256="3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
        ),
    ),
)
CUB200 = DatasetSpec(
    name="cub200",
    summary="Caltech-UCSD Birds-200-2011: 200 species of birds.",
    paper="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    params=OfficialParams,
    build=_cub200,
    how_to_get="harness data fetch cub200; or unpack CUB_200_2011.tgz from "
    "https://data.caltech.edu/records/65de6-vp158 into FOLDER and pass --data FOLDER",
    num_images=11_788,
    num_classes=200,
    parts=(PartSize("train", 5_864, 100), PartSize("test", 5_924, 100)),
    folder="cub200",
    files=(
        DataFile(
            name="CUB_200_2011.tgz",
            urls=(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                GOOGLE_DRIVE.format("1hbzc_P1FuxMkcabkgn9ZKinBwW683j45"),
            ),
            size=1_150_585_339,
            md5="97eceeb196236b17998738112f37df78",
            holds="CUB_200_2011",
        ),
    ),
)
CARS196 = DatasetSpec(
    name="cars196",
    summary="Stanford Cars: 196 models of cars.",
    paper="https://doi.org/10.1109/ICCVW.2013.77",
    params=OfficialParams,
    build=_cars196,
    how_to_get="harness data fetch cars196 tries its server, which is gone, and a web archive; or "
    "put car_ims/ and cars_annos.mat, or cars_train/, cars_test/ and devkit/ (Kaggle: "
    "jessicali9530/stanford-cars-dataset), or the by-class copy car_data/ with names.csv (Kaggle: "
    "jutrera/stanford-car-dataset-by-classes-folder) into FOLDER/cars196 and pass --data FOLDER",
    num_images=16_185,
    num_classes=196,
    parts=(PartSize("train", 8_054, 98), PartSize("test", 8_131, 98)),
    folder="cars196",
    files=(
        DataFile(
            name="car_ims.tgz",
            urls=(f"{KRAUSE}/car_ims.tgz", f"{WEB_ARCHIVE}/{KRAUSE}/car_ims.tgz"),
            md5="d5c8f0aa497503f355e17dc7886c3f14",
            holds="car_ims",
        ),
        DataFile(
            name="cars_annos.mat",
            urls=(f"{KRAUSE}/cars_annos.mat", f"{WEB_ARCHIVE}/{KRAUSE}/cars_annos.mat"),
            md5="b407c6086d669747186bd1d764ff9dbc",
        ),
    ),
)
SOP = DatasetSpec(
    name="sop",
    summary="Stanford Online Products: 22,634 products of an auction site.",
    paper="arXiv:1511.06452",
    params=OfficialParams,
    build=_sop,
    how_to_get="harness data fetch sop; or unpack Stanford_Online_Products.zip from "
    "https://cvgl.stanford.edu/projects/lifted_struct/ into FOLDER and pass --data FOLDER",
    num_images=120_053,
    num_classes=22_634,
    parts=(PartSize("train", 59_551, 11_318), PartSize("test", 60_502, 11_316)),
    folder="sop",
    files=(
        DataFile(
            name="Stanford_Online_Products.zip",
            urls=(
                "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
                GOOGLE_DRIVE.format("1TclrpQOF_ullUP99wk_gjGN8pKvtErG8"),
            ),
            md5="7f73d41a2f44250d4779881525aea32e",
            holds="Stanford_Online_Products",
        ),
    ),
)
INSHOP = DatasetSpec(
    name="inshop",
    summary="DeepFashion In-Shop Clothes Retrieval: 7,982 items, query and gallery apart.",
    paper="https://doi.org/10.1109/CVPR.2016.124",
    params=InShopParams,
    build=_inshop,
    how_to_get="ask for it at http://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html (In-shop "
    "Clothes Retrieval Benchmark), put Img/img.zip as FOLDER/Inshop_Clothes/Img/img.zip and "
    "Eval/list_eval_partition.txt as FOLDER/Inshop_Clothes/Eval/list_eval_partition.txt, then "
    "harness data fetch inshop --data FOLDER unpacks it",
    num_images=52_712,
    num_classes=7_982,
    parts=(
        PartSize("train", 25_882, 3_997),
        PartSize("query", 14_218, 3_985),
        PartSize("gallery", 12_612, 3_985),
    ),
    folder="Inshop_Clothes",
    files=(
        DataFile(name="Eval/list_eval_partition.txt"),
        DataFile(name="Img/img.zip", holds="img"),
    ),
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
