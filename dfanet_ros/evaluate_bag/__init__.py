"""A bag's images through the segmenter, every one of them, compared with labels if there are some.

    ros2 run dfanet_ros evaluate_bag BAG --weights camvid --out results
    python -m dfanet_ros.evaluate_bag BAG --label-topic /camera/label --weights camvid --out results

Needs no ROS: rosbags reads and writes the bags.
"""
