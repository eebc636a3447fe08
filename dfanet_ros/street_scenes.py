"""Generated street scenes with labels: a data set of any size without a download.

A scene is a straight street in metres (x to the right, y up, z ahead; the camera stands over the origin), painted from
far to near. Classes share colours, so that a network has to learn shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfanet_ros.label_set import STREET_SCENES

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # RGB (H, W, 3) and ids (H, W)
Floats = NDArray[np.float64]
Rng = np.random.Generator
Thing = tuple[float, float, Callable[..., None], tuple[object, ...]]  # z, x, what paints it, and how it looks

IDS = {name: number for number, name in enumerate(STREET_SCENES.names)}
GRAIN = np.zeros(256, np.float32)  # by id: how much a surface's brightness varies from pixel to pixel
GRAIN[: len(IDS)] = [{"sky": 0.02, "car": 0.06, "tree": 0.25}.get(name, 0.12) for name in IDS]
NEAR, LAST, FAR = 0.4, 90, 500  # metres: what is nearer is cut off; where the houses and the ground end
KERB = 0.13  # metres: how high the pavement is
UP, FACING = (0, 1, 0), (0, 0.5, -0.6)  # where the ground faces, and small things
TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], axis=-1)

# What is drawn takes a colour near one of these.
GROUNDS = [(105, 105, 108), (85, 85, 90), (130, 126, 122), (150, 140, 128), (118, 106, 98)]
WALLS = [*GROUNDS, (150, 75, 60), (190, 180, 165), (205, 190, 140), (165, 130, 105), (210, 210, 205), (130, 70, 60)]
LEAVES = [(75, 110, 45), (100, 125, 55), (55, 85, 50), (145, 125, 50), (155, 90, 50), (105, 90, 65)]
METALS = [(120, 125, 125), (60, 65, 65), (50, 75, 60), (175, 175, 172), (105, 85, 65)]
PAINTS = [(200, 200, 200), (40, 40, 44), (125, 128, 132), (160, 35, 35), (40, 70, 130), (180, 165, 125), (50, 90, 65)]
CLOTHES = [*PAINTS, (90, 60, 45), (60, 65, 100), (200, 150, 60), (130, 70, 110)]
SKIES = [(115, 160, 215), (160, 190, 225), (190, 195, 200), (225, 190, 160), (150, 160, 175)]


def pick(rng: Rng, colors: Sequence[tuple[int, int, int]]) -> Floats:
    """A colour like one of these: another brightness and a slightly other hue."""
    chosen = np.array(colors[int(rng.integers(len(colors)))])
    return np.clip(chosen * rng.uniform(0.8, 1.2) + rng.normal(0, 6, 3), 15, 245)


def noise(rng: Rng, height: int, width: int, cells: Sequence[int]) -> NDArray[np.float32]:
    """About -1..1, (height, width): the mean of random fields whose spots are `cells` pixels large."""
    total = np.zeros((height, width), np.float32)
    for cell in cells:
        total += cv2.resize(rng.integers(0, 256, (-(-height // cell), -(-width // cell)), np.uint8), (width, height))
    total /= 127.5 * len(cells)
    return np.subtract(total, 1, dtype=np.float32)


class Painter:
    """Paints with points in metres into a picture of four channels: red, green, blue and the class.

    One stroke fills all four, so the label has exactly the shape of what is drawn. The view is that of a pinhole
    camera; as its pitch and yaw are small, they only move the point where the street vanishes.
    """

    def __init__(self, height: int, width: int, rng: Rng) -> None:
        self.rng = rng
        self.picture = np.zeros((height, width, 4), np.uint8)
        self.shadow = np.zeros((height, width), np.uint8)  # 1 where a shadow falls
        self.focal = height * rng.uniform(1, 1.3)  # pixels
        self.wide = width / self.focal  # what is seen, in distances
        self.eye = rng.uniform(1.25, 2)  # metres above the road
        self.vanishing: Floats = np.array([width * rng.uniform(0.42, 0.58), height * rng.uniform(0.4, 0.52)])
        self.sunshine = rng.choice([0, rng.uniform(0.3, 1)], p=[0.3, 0.7])  # 0: overcast
        sun = np.array([rng.choice([-1, 1]) * rng.uniform(0.3, 1), rng.uniform(0.5, 1), rng.uniform(-0.7, 0.5)])
        self.sun = sun / np.linalg.norm(sun)  # points to it
        self.sky = pick(rng, SKIES)
        self.haze = 0.6 * self.sky + 0.4 * 215
        self.sight = rng.uniform(100, 600)  # metres; from there, haze hides 63 %

    def project(self, points: ArrayLike) -> NDArray[np.int32]:
        """Points (..., 3) in metres to pixels (..., 2)."""
        metres = np.asarray(points, np.float64)
        offset: Floats = (metres[..., :2] - (0, self.eye)) * (self.focal, -self.focal) / metres[..., 2:]
        return np.rint(self.vanishing + offset).astype(np.int32)

    def lit(self, name: str, color: ArrayLike, depth: float, normal: ArrayLike = FACING) -> tuple[float, ...]:
        """A surface's four channels in this light: `normal` is where it faces, `depth` how far away it is."""
        light = 1 + self.sunshine * (0.75 * max(0.0, np.dot(normal, self.sun)) - 0.35)
        seen = self.haze + (np.multiply(color, light) - self.haze) * np.exp(-depth / self.sight)
        return (*np.minimum(seen, 255).tolist(), IDS[name])

    def fill(self, name: str, color: ArrayLike, points: ArrayLike, normal: ArrayLike = FACING) -> None:
        """A polygon (N, 3), or several of one colour (M, N, 3)."""
        if len(metres := np.asarray(points)):
            outlines = list(self.project(metres).reshape(-1, metres.shape[-2], 2))
            cv2.fillPoly(self.picture, outlines, self.lit(name, color, metres[..., 2].mean(), normal))

    def stroke(self, name: str, color: ArrayLike, points: ArrayLike, thickness: float) -> None:
        """A line through the points (N, 3) with round ends, `thickness` metres wide but at least one pixel."""
        depth = np.asarray(points)[:, 2].mean()
        wide = max(1, round(thickness * self.focal / depth))
        cv2.polylines(self.picture, [self.project(points)], False, self.lit(name, color, depth), wide)

    def shade(self, points: ArrayLike) -> None:
        """Notes a shadow on the ground, a polygon (N, 3), for `cast_shadows`."""
        cv2.fillPoly(self.shadow, [self.project(points)], (1,))

    def cast_shadows(self) -> None:
        """Darkens what is painted so far; the classes stay."""
        dark = self.picture * np.array([0.75 - 0.3 * self.sunshine] * 3 + [1], np.float32)
        cv2.copyTo(dark.astype(np.uint8), self.shadow, self.picture)


def paint_sky(painter: Painter) -> None:
    """A gradient and clouds, down to where the ground begins."""
    rng, width, height = painter.rng, painter.picture.shape[1], int(painter.project((0, 0, FAR))[1]) + 1
    low, white = np.linspace(0, 1, height)[:, None], rng.uniform(190, 250)
    sky = painter.sky * (0.85 + 0.15 * low) + (painter.haze - painter.sky) * low**2
    clouds = noise(rng, height, width // 3, [-(-height // part) for part in (2, 3, 7, 20)])
    cover = np.clip((cv2.resize(clouds, (width, height)) - rng.uniform(-0.3, 0.3)) * rng.uniform(2, 5), 0, 0.9)
    layers = [(color + (white - color) * cover).astype(np.uint8) for color in sky.astype(np.float32).T[..., None]]
    painter.picture[:height] = cv2.merge([*layers, np.full_like(layers[0], IDS["sky"])])


def strip(left: float, right: float, near: float, far: float, up: float = 0) -> list[tuple[float, float, float]]:
    """A level rectangle."""
    return [(left, up, near), (left, up, far), (right, up, far), (right, up, near)]


def paint_ground(painter: Painter, name: str, color: Floats, left: float, right: float, up: float = 0) -> None:
    """The ground from `left` to `right`, or out of view if that is infinite; in bands, for haze thickens with depth."""
    for near, far in pairwise(np.geomspace(NEAR, FAR, 18)):
        out = 9 + painter.wide * far
        shade = color * painter.rng.uniform(0.97, 1.03)
        painter.fill(name, shade, strip(max(left, -out), min(right, out), near, far, up), UP)


def paint_house(painter: Painter, x: float, near: float, far: float, tall: float) -> None:
    """A house from `near` to `far`: its front at x, along the street, its nearer end and perhaps a pitched roof."""
    rng, side, name = painter.rng, np.sign(x), "building"
    color, roof, rise = pick(rng, WALLS), pick(rng, WALLS), rng.uniform(2, 6)
    eaves, outer, ridge = (x, tall, near), (x + 12 * side, tall, near), (x + 6 * side, tall + rise, near)
    pitch, storey, rim = rng.uniform(1.8, 3.6), rng.uniform(2.7, 3.6), rng.uniform(0.1, 0.4)
    wide, high = pitch * rng.uniform(0.3, 0.75), storey * rng.uniform(0.4, 0.65)

    def panels(along: Floats, up: Floats, wide: float, high: float) -> Floats:
        """Rectangles on the front around all combinations of these z and y, (N, 4, 3)."""
        z, y = (middle.reshape(-1, 1) for middle in np.meshgrid(along, up))
        z, y = z + np.array([-0.5, 0.5, 0.5, -0.5]) * wide, y + np.array([-0.5, -0.5, 0.5, 0.5]) * high
        return np.stack([np.full(z.shape, x), y, z], axis=-1)

    if near > NEAR:
        painter.fill(name, color, [(x, 0, near), (outer[0], 0, near), outer, eaves], (0, 0, -1))
    if rng.random() < 0.5:
        painter.fill(name, color, [eaves, outer, ridge], (0, 0, -1))
        painter.fill(name, roof * 0.7, [eaves, (x, tall, far), (*ridge[:2], far), ridge], (-0.5 * side, 0.8, 0))
    whole, level, front = np.array([(near + far) / 2]), np.arange(storey * 0.55, tall - high / 2, storey), (-side, 0, 0)
    columns = np.arange(near + pitch / 2, far - wide / 2, pitch)
    painter.fill(name, color, panels(whole, np.array([tall / 2]), far - near, tall), front)
    courses = panels(whole, np.arange(0.3, tall, 0.6), far - near, 0.2)  # of bricks
    painter.fill(name, color * rng.uniform(0.85, 1), courses, front)
    painter.fill(name, color * rng.choice([0.6, 1.4]), panels(columns, level, wide + rim, high + rim), front)
    panes = np.array_split(rng.permutation(panels(columns, level, wide, high)), 3)
    for some, bright in zip(panes, rng.uniform(30, 170, 3), strict=True):
        painter.fill(name, bright * np.array([0.85, 0.95, 1]), some)


def paint_tree(painter: Painter, x: float, z: float, leaf: Floats) -> None:
    """A trunk and a ragged crown."""
    rng, name = painter.rng, "tree"
    tall, taper, bark = rng.uniform(4.5, 10), rng.choice([0, 0.3, 0.8]), pick(rng, METALS) * (0.75, 0.65, 0.55)
    middle, radius = tall * rng.uniform(0.55, 0.68), tall * rng.uniform(0.17, 0.28)

    def crown(spots: Floats) -> Floats:
        """From the unit disc to metres; a tapered crown gets narrow towards its top."""
        a, b = spots[..., 0] * (1 - taper * (spots[..., 1] + 1) / 2), spots[..., 1]
        return np.stack([x + a * radius, middle + b * (tall - middle), np.full(a.shape, z)], axis=-1)

    painter.stroke(name, bark, [(x, 0, z), (x, middle, z)], rng.uniform(0.18, 0.4))
    painter.fill(name, leaf * 0.6, crown(np.repeat(CIRCLE, 2, axis=0) * rng.uniform(0.75, 1.05, (32, 1))))
    for step, light in enumerate((0.8, 1.0, 1.3)):  # tufts of leaves: the brighter, the more towards the sun
        centres = CIRCLE[rng.integers(16, size=50)] * np.sqrt(rng.random((50, 1))) * (0.95 - 0.12 * step)
        tufts = (centres + 0.1 * step * painter.sun[:2])[:, None] + CIRCLE[::3] * rng.uniform(0.04, 0.16, (50, 6, 1))
        painter.fill(name, leaf * light, crown(tufts))


def paint_pole(painter: Painter, x: float, z: float, tall: float, color: Floats) -> None:
    """A lamp post: a tall one has an arm over the road, a low one a globe."""
    arm, name = -np.sign(x), "pole"
    painter.stroke(name, color, [(x, 0, z), (x, tall, z)], 0.13)
    if tall > 5:
        painter.stroke(name, color, [(x, tall, z), (x + 0.5 * arm, tall + 0.3, z), (x + 2 * arm, tall + 0.4, z)], 0.1)
        painter.stroke(name, color, [(x + 1.4 * arm, tall + 0.36, z), (x + 2 * arm, tall + 0.38, z)], 0.18)
    else:
        painter.fill(name, (225, 222, 205), [(x + 0.22 * a, tall + 0.22 * b, z) for a, b in CIRCLE])


def paint_pedestrian(painter: Painter, x: float, z: float) -> None:
    """Someone who walks across the view, seen from the side, or along it. Points are shares of the height."""
    rng, name = painter.rng, "pedestrian"
    tall, step, hem = rng.uniform(1.4, 1.95), rng.uniform(0.06, 0.16), rng.choice([0.46, 0.46, 0.3])  # jacket or coat
    top, legs, hair, skin = (pick(rng, colors) for colors in (CLOTHES, CLOTHES, CLOTHES, [(190, 145, 120)]))
    aside = bool(rng.random() < 0.5)
    broad, hip, foot, hand = (0.07, 0.0, step, -step) if aside else (0.115, 0.05, 0.055, 0.15)

    def at(*points: Sequence[float]) -> list[tuple[float, float, float]]:
        return [(x + a * tall, b * tall, z) for a, b in points]

    for side in (-1, 1):
        lift = 0.03 if aside or side > 0 else 0.08  # walking straight ahead, one foot is off the ground
        leg = at((side * hip, 0.5), (side * foot * 0.6 + 0.02 * aside, 0.27), (side * foot, lift))
        painter.stroke(name, legs * (1 - 0.1 * side), leg, 0.085 * tall)
    coat = at((-broad, 0.8), (-broad, hem), (broad, hem), (broad, 0.8), (broad / 2, 0.85), (-broad / 2, 0.85))
    painter.fill(name, top, coat)
    for side in (-1, 1):
        shoulder = 0 if aside else side * broad
        arm = at((shoulder, 0.8), ((shoulder + side * hand) / 2, 0.62), (side * hand, 0.47))
        painter.stroke(name, top * 0.85, arm, 0.055 * tall)
    head = CIRCLE * (0.052, 0.068) + np.array([0, 0.925])
    painter.fill(name, skin, at(*head))
    painter.fill(name, hair * 0.5, at(*np.maximum(head, (-1, 0.935))))


def paint_car(painter: Painter, x: float, z: float, heading: float) -> None:
    """A car around x, z: its side view, extruded to its width. Heading 0 drives away from us, pi towards us.

    Points (along, up) of the side view are shares of the length, from the rear, and of the height.
    """
    rng, name, black, van = painter.rng, "car", (34, 34, 36), painter.rng.random() < 0.2
    length, width, height = rng.uniform(3.8, 4.8), rng.uniform(1.7, 1.9), rng.uniform(1.4, 1.55) + 0.7 * van
    boot, slope, roof = (0.02, 0.02, 0.72) if van else (rng.choice([0.02, 0.14]), rng.uniform(0.05, 0.14), 0.55)
    top = [(boot, 0.64), (boot + slope, 1), (roof, 1), (roof + 0.19, 0.64)]
    profile = np.array([(0, 0.2), (0.01, 0.58), *top, (0.98, 0.5), (1, 0.2)])  # from the rear bumper to the front one
    windows = [(boot + 0.08, 0.66), (boot + slope + 0.02, 0.93), (roof - 0.02, 0.93), (roof + 0.13, 0.66)]
    paint, pane = pick(rng, PAINTS), pick(rng, [(70, 80, 88)])
    ahead, right = np.array([np.sin(heading), 0, np.cos(heading)]), np.array([np.cos(heading), 0, -np.sin(heading)])

    def flank(points: ArrayLike, side: float) -> Floats:
        """Points (N, 2) of the side view to metres (N, 3), from side -1, the left, to 1, the right."""
        axes = np.array([length * ahead, (0, height, 0)])
        metres: Floats = (x, 0, z) + (np.asarray(points) - (0.5, 0)) @ axes + side * width / 2 * right
        return metres

    def panel(start: ArrayLike, end: ArrayLike, left: float, right: float) -> Floats:
        """What the line between two points of the side view becomes when extruded."""
        line = np.array([start, end])
        return np.concatenate([flank(line, left), flank(line[::-1], right)])

    def paint_if_seen(points: Floats, normal: Floats) -> bool:
        if seen := bool((points.mean(axis=0) - (0, painter.eye, 0)) @ normal < 0):
            painter.fill(name, paint, points, normal / np.linalg.norm(normal))
        return seen

    painter.fill("road", (40, 40, 42), panel((-0.03, 0), (1.03, 0), -1.1, 1.1))  # its shadow
    for axle in (0.18, 0.82):  # tyres as seen from behind or ahead
        painter.fill(name, black, [panel((axle, 0), (axle, 0.3), side - 0.15, side + 0.15) for side in (-0.8, 0.8)])
    for part in range(7)[:: -1 if ahead[2] > 0 else 1]:  # from far to near
        (start, end), inset = profile[part : part + 2], 0.1 * (profile[part + 1] - profile[part])
        upright, level = (start[1] - end[1]) * height, (end[0] - start[0]) * length
        if paint_if_seen(panel(start, end, -1, 1), upright * ahead + np.array([0, level, 0])):
            if part in (2, 4):  # the rear window and the windscreen
                painter.fill(name, pane, panel(start + inset, end - inset, -0.85, 0.85))
            elif part in (0, 6):  # the rear and the front with lamps and plate
                low, high, lamp = (part / 6, 0.42), (part / 6, 0.53), (235, 235, 220) if part else (165, 30, 30)
                painter.fill(name, lamp, [panel(low, high, side - 0.17, side + 0.17) for side in (-0.78, 0.78)])
                painter.fill(name, (215, 215, 200), panel((part / 6, 0.28), (part / 6, 0.36), -0.28, 0.28))
    for side in (-1, 1):
        if paint_if_seen(flank(profile, side), side * right):
            painter.fill(name, pane, flank(windows, side))
            for radius, shade in ((0.32, black), (0.18, (140, 140, 142))):
                wheel = CIRCLE * (radius / length, radius / height) + np.array([0, 0.32 / height])
                painter.fill(name, shade, [flank(wheel + np.array([axle, 0]), side) for axle in (0.18, 0.82)])


def spaced(rng: Rng, first: tuple[float, float], gap: tuple[float, float], end: float) -> list[float]:
    """Random positions up to `end`, with ranges for the first and for the gaps."""
    places = np.cumsum([rng.uniform(*first), *rng.uniform(*gap, 40)])
    return [float(place) for place in places if place < end]


def paint_side(painter: Painter, kerb: float, road: Floats, zebra: float, parked: bool) -> list[Thing]:
    """The pavement and the houses on one side. Returns what stands in front of them."""
    rng, side = painter.rng, np.sign(kerb)
    walk, slab, usual, closed = rng.uniform(2.2, 5), rng.choice([0.5, 1, 2]), rng.uniform(5, 16), [zebra]
    front, houses, z = kerb + side * walk, [], rng.uniform(-15, 0)
    stone, leaf, metal = pick(rng, WALLS), pick(rng, LEAVES), pick(rng, METALS)
    paint_ground(painter, "pavement", stone, min(kerb, side * np.inf), max(kerb, side * np.inf), KERB)
    joints = [strip(kerb, front, z, z + 0.02, KERB) for z in np.arange(1, 20, slab)]
    joints += [strip(x, x + 0.02, NEAR, 20, KERB) for x in np.arange(kerb, front, side * slab)]
    painter.fill("pavement", stone * 0.75, joints, UP)
    kerbstone = [(kerb, 0, NEAR), (kerb, 0, FAR), (kerb, KERB, FAR), (kerb, KERB, NEAR)]
    painter.fill("pavement", stone, kerbstone, (-side, 0, 0))
    things: list[Thing] = []
    while z < LAST:
        far, gap = max(z + rng.uniform(7, 22), NEAR + 1), rng.choice([0, 3, 8], p=[0.65, 0.15, 0.2])
        houses.append((max(NEAR, z), far, usual * rng.uniform(0.7, 1.4)))
        z = far + gap
        if gap == 8:  # a side street, and a car that comes out of it
            painter.fill("road", road, strip(kerb, front + side * painter.wide * z, far + 1, z - 1), UP)
            things.append((far + 4, kerb + side * rng.uniform(1, walk), paint_car, (-side * np.pi / 2,)))
            closed.append(far + 4)
    for near, far, tall in houses[::-1]:
        paint_house(painter, front, near, far, tall)
    if painter.sun[0] * side > 0 < painter.sunshine:  # the shadow of the houses
        painter.shade(strip(front, front - usual * painter.sun[0] / painter.sun[1], NEAR, FAR))
    tall, heading, trees, lamps = rng.uniform(3.5, 8), rng.choice([0, np.pi]), *(rng.random(2) < 0.75)
    for paint, from_kerb, places, look in (
        (paint_tree, 1, spaced(rng, (5, 14), (7, 16), 60 * trees), (leaf,)),
        (paint_pole, 0.5, spaced(rng, (5, 14), (10, 20), 40 * lamps), (tall, metal)),
        (paint_pedestrian, walk * rng.uniform(0.3, 0.8), spaced(rng, (4, 12), (2, 16), 32), ()),
        (paint_car, -1.15, spaced(rng, (5, 12), (5.3, 16), 45 * parked), (heading,)),
    ):
        free = [z for z in places if all(abs(z - other) > 4 for other in closed)]
        things += [(z, kerb + side * from_kerb, paint, look) for z in free]
    return things


def paint_street(painter: Painter) -> None:
    """A street on whose right (`keep` 1) or left (-1) we drive, and all that stands on it."""
    rng, keep, lane = painter.rng, painter.rng.choice([-1, 1]), painter.rng.uniform(2.9, 3.6)
    parked, zebra, middle = rng.random() < 0.6, rng.uniform(9, 25) if rng.random() < 0.4 else -9, -keep * lane / 2
    kerbs = [side * (lane * (0.5 if side == keep else 1.5) + (2.3 if parked else 0.4)) for side in (-1, 1)]
    tar, white = pick(rng, GROUNDS), pick(rng, [(205, 203, 195)])
    things: list[Thing] = []
    paint_ground(painter, "road", tar, -np.inf, np.inf)
    for x in np.arange(-18, 18) * 15 * painter.wide:  # houses that close the view
        block = [(x, 0, 260), (x, tall := rng.uniform(4, 26), 260)]
        painter.fill("building", pick(rng, WALLS), block + [(x + 16 * painter.wide, y, 260) for y in (tall, 0)])
    for z in spaced(rng, (0, 3), (1, 9), 40):  # where it was mended
        x, size = rng.uniform(kerbs[0], kerbs[1]), rng.uniform(0.5, 3, 2)
        painter.fill("road", tar * rng.uniform(0.85, 1.1), strip(x, x + size[0], max(z, NEAR), z + size[1]), UP)
    dashes = [strip(middle - 0.07, middle + 0.07, z, z + 3) for z in spaced(rng, (0.5, 5), (6, 9), LAST)]
    painter.fill("road", white, dashes, UP)
    if zebra > 0:
        bars = [strip(x, x + 0.5, zebra - 1.5, zebra + 1.5) for x in np.arange(kerbs[0] + 0.3, kerbs[1] - 0.5)]
        painter.fill("road", white, bars, UP)
        things.append((zebra, rng.uniform(kerbs[0], kerbs[1]), paint_pedestrian, ()))
    for kerb in kerbs:
        things += paint_side(painter, kerb, tar, zebra, parked)
    for x, heading in ((0, 0), (-keep * lane, np.pi)):
        places = [z for z in spaced(rng, (8, 30), (8, 30), 55) if abs(z - zebra) > 4]
        things += [(z, x, paint_car, (heading,)) for z in places]
    for z, x, paint, _ in things:
        radius = {paint_tree: 1.3, paint_car: 1.0}.get(paint, 0.2)
        shift = -2 * painter.sun[0] * painter.sunshine * radius  # shadows reach away from the sun
        painter.shade((x + shift, 0, z) + np.insert(CIRCLE, 1, 0, axis=1) * (radius + abs(shift), 0, radius))
    painter.cast_shadows()
    for z, x, paint, look in sorted(things, key=lambda thing: -thing[0]):
        paint(painter, x, z, *look)


def develop(painter: Painter) -> NDArray[np.uint8]:
    """The photograph (H, W, 3) uint8: grain of the surfaces, exposure, tint, vignette, blur and the sensor's noise."""
    rng, (height, width) = painter.rng, painter.picture.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    gain = 1 + cv2.LUT(painter.picture[..., 3], GRAIN) * noise(rng, height, width, [1, 3, 20])
    gain *= 1 - np.float32(rng.uniform(0, 0.1)) * (x**2 + y**2)
    exposure, blur, sensor = rng.uniform(0.8, 1.3), rng.uniform(0.3, 0.9), rng.uniform(1, 8)
    static = noise(rng, height, width, [1]) * np.float32(sensor)
    layers = []
    for layer, tint in zip(cv2.split(painter.picture), rng.uniform(0.92, 1.08, 3), strict=False):
        seen = cv2.GaussianBlur(cv2.multiply(layer, gain, scale=exposure * tint, dtype=cv2.CV_32F), (3, 3), blur)
        layers.append(cv2.add(seen, static, dtype=cv2.CV_8U))
    return cv2.merge(layers).astype(np.uint8, copy=False)


class StreetScenes(Sequence[Sample]):
    """Generated street scenes with the labels of `STREET_SCENES`; sizes are in pixels, from 64 x 64.

    A scene depends on seed, index and size only. To the bit it is the same with the same NumPy and OpenCV, whose
    releases differ in where a polygon's edge runs.
    """

    def __init__(self, count: int, height: int = 360, width: int = 480, seed: int = 0) -> None:
        self.length, self.height, self.width, self.seed = count, height, width, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # slices are not needed
        """The image RGB (H, W, 3) uint8 and the ids (H, W) uint8."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} scenes; there is none of number {index}")
        painter = Painter(self.height, self.width, np.random.default_rng((self.seed, index)))
        paint_sky(painter)
        paint_street(painter)
        return develop(painter), painter.picture[..., 3].copy()
