import type { Lang } from "../facts/types.ts";

/** Words that templates draw at random: `{fruit}` is one of `fruit`. */
export const vocabulary: Readonly<Record<Lang, Readonly<Record<string, readonly string[]>>>> = {
  zh: {
    name: ["小明", "小红", "小华", "小丽", "小刚", "小芳"],
    fruit: ["苹果", "橘子", "橙子", "桃子", "梨"],
    dish: ["臭豆腐", "口味虾", "米粉", "饺子", "面条", "辣椒炒肉"],
    drink: ["茶", "牛奶", "果汁", "咖啡"],
    sport: ["打篮球", "踢足球", "游泳", "跑步", "打乒乓球"],
    hobby: ["看书", "画画", "唱歌", "听音乐", "下棋"],
    subject: ["数学", "语文", "英语", "物理", "历史"],
    place: ["公园", "图书馆", "博物馆", "电影院", "动物园"],
    city: ["长沙", "北京", "杭州", "成都", "西安"],
    day: ["星期一", "星期二", "星期三", "星期四", "星期五"],
    hour: ["七点", "八点", "九点", "三点", "五点"],
    price: ["三", "五", "六", "八", "十"],
    sunny: ["晴天", "阴天"],
    pet: ["小猫", "小狗", "小兔子"],
    transport: ["坐地铁", "坐公交车", "骑自行车", "走路"],
  },
  en: {
    name: ["Tom", "Lucy", "Jack", "Mary", "Ben", "Anna"],
    fruit: ["apples", "bananas", "oranges", "peaches", "pears"],
    dish: ["stinky tofu", "rice noodles", "dumplings", "noodles", "fish", "tomato soup"],
    drink: ["tea", "milk", "juice", "coffee"],
    sport: ["play basketball", "play football", "go swimming", "go running", "play table tennis"],
    hobby: ["reading", "drawing", "singing", "listening to music", "playing chess"],
    subject: ["maths", "Chinese", "English", "physics", "history"],
    place: ["the park", "the library", "the museum", "the cinema", "the zoo"],
    city: ["Changsha", "Beijing", "London", "Paris", "Xi'an"],
    day: ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
    hour: ["seven", "eight", "nine", "three", "five"],
    price: ["three", "five", "six", "eight", "ten"],
    sunny: ["sunny", "cloudy", "warm"],
    pet: ["cat", "dog", "rabbit"],
    transport: ["by metro", "by bus", "by bike", "on foot"],
  },
};
