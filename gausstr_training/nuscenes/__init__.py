"""nuScenes as rosbags: its tables, one bag per scene, and the keyframes of a bag.

nuScenes: Caesar et al., CVPR 2020. The tables are read as JSON: what is needed of them is little,
and the devkit holds all of them in memory at once.
"""
