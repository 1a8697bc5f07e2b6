/** The seven openings that recipes continue to show what a model has learnt. The corpus speaks of each of them often. */
export const openings: string[] = [
  "马克思主义基本原理",
  "人类大脑的主要功能",
  "万有引力原理是",
  "世界上最高的山峰是",
  "二氧化碳在空气中",
  "地球上最大的动物有",
  "长沙市的美食有",
];
