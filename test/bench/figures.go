package main

import (
	"math"
	"slices"
)

// number is what can be measured.
type number interface{ ~int | ~int64 | ~float64 }

// quantile returns the value that a part q of the values does not exceed, between two values by their distance; 0 if
// there are none.
func quantile[N number](values []N, q float64) N {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + N((at-float64(low))*float64(sorted[high]-sorted[low]))
}

func median[N number](values []N) N { return quantile(values, 0.5) }

// point is one measurement of y at x.
type point struct{ x, y float64 }

// line is y = base + slope x.
type line struct{ base, slope float64 }

// fit returns the line with the least squares of distances in y. Points with one x, or none, have slope 0.
func fit(points []point) line {
	var n, sx, sy, sxx, sxy float64
	for _, p := range points {
		n, sx, sy, sxx, sxy = n+1, sx+p.x, sy+p.y, sxx+p.x*p.x, sxy+p.x*p.y
	}
	spread := n*sxx - sx*sx
	if n == 0 || spread == 0 {
		return line{base: sy / max(n, 1)}
	}
	slope := (n*sxy - sx*sy) / spread
	return line{base: (sy - slope*sx) / n, slope: slope}
}
