"""Micrographs rendered from microstructure models: the embedded default, and simulated through and through.

Structures are functions of position in micrometres. They are drawn on a grid twice as fine as the image, imaged
(etching or secondary electrons, edges, uneven etch and light, scratches, blur at the instrument's resolution,
noise) and averaged down. What the microscope cannot resolve thereby blurs to grey by itself. Sizes follow the
metallographic literature, cited at each recipe; they are this study's choice and not the paper's micrographs.

``python -m steelrender --quiz 1 --out data/rendered/quiz1`` writes the images and their manifest.
"""
