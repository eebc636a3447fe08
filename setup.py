from glob import glob

from setuptools import find_packages, setup

PACKAGE = "dfanet_ros"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Real-time semantic segmentation of camera images with DFANet.",
    maintainer="dfanet_ros maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    license="Apache-2.0",
    # `training` is run from a checkout: a global package of that name has no place on a robot.
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "live/page/*", "report/page.html", "weights/*.safetensors"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*")),
    ],
    entry_points={
        "console_scripts": [
            f"bag_from_images = {PACKAGE}.bag_from_images:main",
            f"camera_source = {PACKAGE}.camera_source:main",
            f"evaluate_bag = {PACKAGE}.evaluate_bag.__main__:main",
            f"evaluation_node = {PACKAGE}.evaluation_node:main",
            f"live_view = {PACKAGE}.live.view:main",
            f"play_bag = {PACKAGE}.play_bag:main",
            f"segmentation_node = {PACKAGE}.segmentation_node:main",
        ]
    },
    zip_safe=False,  # the weights are read as files
    python_requires=">=3.10",
    # OpenCV and rclpy are missing here on purpose: the scripts of older setuptools refuse to start without pip's record
    # of each requirement, and apt's python3-opencv has none. package.xml and requirements/ name them.
    install_requires=["numpy", "safetensors", "torch"],
    extras_require={
        # Engines that `engine:=auto` takes where they are installed.
        "onnxruntime": ["onnx", "onnxruntime", "onnxscript"],
        "openvino": ["openvino"],
        "test": ["hypothesis", "pytest", "pytest-timeout", "pyyaml", "tqdm"],
    },
)
