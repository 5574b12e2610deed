/* Work for a processor and nothing else: three kinds in turn, as many rounds as the argument says.
 *
 * Mixing of 32-bit words (integer), products of matrices (floating point), and a shuffled walk through 4 MiB
 * with a branch at each step (memory). Prints one number that depends on all of it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 96, CELLS = 1 << 20, MIXES = 1 << 21 };

static double left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];
static uint32_t cells[CELLS];

static uint32_t mix(uint32_t seed) {
    uint32_t a = seed, b = 0x9e3779b9u, c = 0x85ebca6bu;
    for (int i = 0; i < MIXES; i++) {
        a = (a << 13 | a >> 19) + b;
        b = (b ^ a) * 0xc2b2ae35u;
        c = (c << 7 | c >> 25) ^ (a + b);
    }
    return a ^ b ^ c;
}

static uint32_t multiply(uint32_t seed) {
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            left[i][j] = (double)((seed + (uint32_t)(i * j)) % 97);
            right[i][j] = (double)((seed + (uint32_t)(i + j)) % 89);
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            double sum = 0;
            for (int k = 0; k < SIDE; k++) sum += left[i][k] * right[k][j];
            product[i][j] = sum;
        }
    return (uint32_t)product[seed % SIDE][(seed / SIDE) % SIDE];
}

static uint32_t walk(uint32_t seed) {
    uint32_t at = seed % CELLS, odd = 0;
    for (int i = 0; i < CELLS; i++) {
        at = (at * 1664525u + 1013904223u) % CELLS;
        if (cells[at] & 1) odd += at;
        cells[at] += odd ^ seed;
    }
    return odd;
}

int main(int count, char **arguments) {
    uint32_t result = 1;
    const int rounds = count > 1 ? atoi(arguments[1]) : 1;
    for (int i = 0; i < rounds; i++) {
        result = mix(result);
        result ^= multiply(result);
        result += walk(result);
    }
    printf("%u\n", (unsigned)result);
    return 0;
}
